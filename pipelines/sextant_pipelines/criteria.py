"""The verdict of each criterion of a run, read from its ledger: what was measured against what was asked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from sextant_components.runs.context import RunContext, Step
from sextant_plan.ledger import END_TASK, Record, criterion_hash, finished, read_run
from sextant_plan.schema import Criterion
from sextant_plan.verdicts import Verdict, worst


@dataclass(frozen=True)
class CriterionResult:
    """One criterion with its evidence; value and bounds are in `unit`, and None where nothing was measured.

    The verdict is that of the evidence; `override` says who let the criterion pass in spite of it, until when and why.
    """

    id: str
    verdict: Verdict
    metric: str
    unit: str
    at_least: float | None
    at_most: float | None
    relative_to: str | None
    value: float | None
    low: float | None
    high: float | None
    n: int | None
    reason: str | None
    enforce: list[str]
    override: str | None

    @property
    def line(self) -> str:
        """Return the verdict for a reader, such as `fail recall 0.81, lower bound 0.78, needs >= 0.80 (n 212)`."""
        overridden = f"; {self.override}" if self.override else ""
        return f"{self.verdict:8} {self.id:24} {self._evidence()}, {self._demand()}{overridden}"

    def as_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {**asdict(self), "verdict": str(self.verdict)}

    def _evidence(self) -> str:
        if self.value is None:
            return self.reason or "no evidence"
        name, bound = ("lower", self.low) if self.at_least is not None else ("upper", self.high)
        bounded = f", no {name} bound" if bound is None else f", {name} bound {bound:.4g}"
        return f"{self.value:.4g}{bounded}"

    def _demand(self) -> str:
        sign, limit = (">=", self.at_least) if self.at_least is not None else ("<=", self.at_most)
        versus = f" over the {self.relative_to}" if self.relative_to else ""
        count = f" (n {self.n})" if self.n is not None else ""
        return f"needs {sign} {limit:g} {self.unit}{versus}{count}"


@dataclass(frozen=True)
class CheckResult:
    """A check outside the criteria that did not pass: what it asked for and, in words, what it found."""

    step: str
    task: str
    verdict: Verdict
    requirement: str
    found: str

    @property
    def line(self) -> str:
        """Return the check for a reader, aligned with the criteria's lines."""
        return f"{self.verdict:8} {f'{self.step}: {self.task}':24} found {self.found}; needs: {self.requirement}"


@dataclass(frozen=True)
class StepResult:
    """One step of the run: its verdict, or `unknown` if it did not finish."""

    step: str
    phase: str
    verdict: Verdict
    finished: bool
    seconds: float
    records: int


def criterion_results(context: RunContext) -> list[CriterionResult]:
    """Return one result for each criterion of the plan, in the plan's order."""
    steps = read_run(context.run)
    ordered = [record for step in Step for record in steps.get(step.value, [])]
    return [_result(criterion, ordered) for criterion in context.plan.criteria]


def open_checks(context: RunContext) -> list[CheckResult]:
    """Return the checks without a criterion for which a step did not pass, where they were made."""
    from sextant_components.closing.dossier.wording import finding

    steps = read_run(context.run)
    # A step that passed may hold records that only inform.
    held = [result.step for result in step_results(context) if result.verdict is not Verdict.PASS]
    if len(held) > 1 and Step.DECIDE in held:
        held.remove(Step.DECIDE)  # it repeats what held back the steps before it
    return [
        CheckResult(record.step, record.task, record.verdict, record.requirement, finding(record))
        for step in held
        for record in steps[step]
        if record.verdict is not Verdict.PASS and record.criterion is None and record.task != END_TASK
    ]


def step_results(context: RunContext) -> list[StepResult]:
    """Return the steps that began, in the order of the life cycle."""
    steps = read_run(context.run)
    return [_step(step.value, steps[step.value]) for step in Step if steps.get(step.value)]


def _step(name: str, records: list[Record]) -> StepResult:
    done = finished(records)
    verdict = records[-1].verdict if done else Verdict.UNKNOWN
    return StepResult(name, records[0].phase, verdict, done, records[-1].time - records[0].time, len(records))


def _result(criterion: Criterion, records: Iterable[Record]) -> CriterionResult:
    matching = [
        record
        for record in records
        if record.criterion == criterion.id
        and record.criterion_hash == criterion_hash(criterion)
        and record.task != END_TASK
    ]
    # The decision and the watch repeat the criterion; what was measured stands with the step that measures it.
    own = [record for record in matching if record.step == criterion.definition.step]
    measured = own[-1] if own else None
    latest = {record.step: record.verdict for record in matching}
    interval = measured.interval if measured else None
    number = measured.value if measured and isinstance(measured.value, int | float) else None
    reason = measured.value if measured and isinstance(measured.value, str) else None
    return CriterionResult(
        id=criterion.id,
        verdict=worst(latest.values()),
        metric=criterion.metric,
        unit=criterion.definition.unit,
        at_least=criterion.at_least,
        at_most=criterion.at_most,
        relative_to=criterion.relative_to,
        value=number,
        low=interval[0] if interval else None,
        high=interval[1] if interval else None,
        n=measured.n if measured else None,
        reason=reason,
        enforce=[str(enforcement) for enforcement in criterion.enforce],
        override=next((found for found in map(_override, matching) if found), None),
    )


def _override(record: Record) -> str | None:
    """Return the override that a decision's record stands on, None for any other record."""
    return record.value.get("override") if record.step == Step.DECIDE and isinstance(record.value, dict) else None
