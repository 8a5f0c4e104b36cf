"""Decide: one verdict for each criterion from the run's evidence, and one for the whole; no evidence is unknown."""

from __future__ import annotations

from pathlib import Path

from sextant_components.runs.context import RunContext, Step
from sextant_components.runs.subject import DECISION_TASK, subject_digest
from sextant_plan.bundle import BundleSpec, read_bundle
from sextant_plan.catalogue import Enforcement
from sextant_plan.ledger import LedgerWriter, Record, criterion_hash, finished, read_run
from sextant_plan.overrides import Override
from sextant_plan.planning import planning_reopened
from sextant_plan.schema import Criterion
from sextant_plan.verdicts import Verdict


def run_decide(context: RunContext, *, bundle: Path) -> Verdict:
    """Record a verdict for each gated criterion and for each earlier step."""
    spec = read_bundle(bundle)
    evidence = {Step(step): records for step, records in read_run(context.run).items()}
    before = {step: records for step, records in evidence.items() if _precedes(step)}
    overrides = context.overrides()
    with context.ledger(Step.DECIDE) as ledger:
        _decide_subject(ledger, context, spec, before)
        _decide_planning(ledger, context)
        for criterion in context.plan.criteria:
            if Enforcement.GATE in criterion.enforce:
                finding = _finding(criterion, before, spec)
                _decide_criterion(ledger, criterion, finding, overrides.get(criterion_hash(criterion)))
        for step, records in before.items():
            _decide_step(ledger, step, records)
        return ledger.verdict


def _precedes(step: Step) -> bool:
    order = list(Step)
    return order.index(step) < order.index(Step.DECIDE)


def _finding(criterion: Criterion, evidence: dict[Step, list[Record]], spec: BundleSpec) -> Record | str:
    """Return the last record that judges this very criterion, or why there is none."""
    wanted = criterion_hash(criterion)
    records = [record for step in evidence.values() for record in step if record.criterion == criterion.id]
    matching = [record for record in records if record.criterion_hash == wanted]
    if not matching:
        return "its evidence is about another wording of the criterion" if records else "no evidence"
    last = matching[-1]
    if last.step == Step.EVALUATE and subject_digest(evidence.get(Step.EVALUATE, [])) != spec.digest:
        return "its evidence is about another bundle"
    return last


def _decide_subject(
    ledger: LedgerWriter, context: RunContext, spec: BundleSpec, evidence: dict[Step, list[Record]]
) -> None:
    evaluated = subject_digest(evidence.get(Step.EVALUATE, [])) == spec.digest
    planned = spec.plan_hash == context.plan_hash
    ledger.record(
        DECISION_TASK,
        requirement="the bundle was made by this plan and is the one that was evaluated",
        risk="one model is tested and another is released",
        qa_method="the bundle's plan hash against the run's, its digest against the one that the evaluation recorded",
        verdict=Verdict.PASS if evaluated and planned else Verdict.UNKNOWN,
        value={"digest": spec.digest, "version": spec.version},
    )


def _decide_planning(ledger: LedgerWriter, context: RunContext) -> None:
    """Record that planning is open again, if it is: no model of this plan is released until the plan is amended."""
    reopening = planning_reopened(context.home, context.plan_hash)
    if reopening is not None:
        ledger.record(
            "planning reopened",
            requirement="retraining under this plan mends what monitoring finds",
            risk="a plan that no longer fits its world is retrained for ever",
            qa_method="the record that the trigger writes after the policy's number of retrainings that did not pass",
            value={**reopening.model_dump(mode="json"), "remedy": "sextant amend PLAN"},
            verdict=Verdict.UNKNOWN,
        )


def _decide_criterion(
    ledger: LedgerWriter, criterion: Criterion, finding: Record | str, override: Override | None
) -> None:
    """Record one verdict; an override lets a criterion pass that would not, and stands in the record with its file."""
    record = finding if isinstance(finding, Record) else None
    verdict = record.verdict if record else Verdict.UNKNOWN
    value: dict[str, str] | str = {"step": record.step, "record": record.id} if record else str(finding)
    artifacts = dict(record.artifacts) if record else {}
    if override is not None and verdict is not Verdict.PASS:
        value = {"found": str(verdict), "record": record.id if record else str(finding), "override": override.sentence}
        artifacts["override"] = ledger.artifacts.put_json(override.model_dump(mode="json"))
        verdict = Verdict.PASS
    ledger.record(
        f"decision {criterion.id}",
        requirement=criterion.requirement,
        risk="a model is released on belief",
        qa_method="the last evidence of this run with the criterion's own hash; none is unknown",
        verdict=verdict,
        value=value,
        criterion=criterion,
        artifacts=artifacts,
    )


def _decide_step(ledger: LedgerWriter, step: Step, records: list[Record]) -> None:
    done = finished(records)
    ledger.record(
        f"step {step.value}",
        requirement=f"the step {step.value} ended without a fault",
        risk="a finding outside the criteria is passed over",
        qa_method="the closing record of the step's last finished attempt; an unfinished step is unknown",
        verdict=records[-1].verdict if done else Verdict.UNKNOWN,
        value="finished" if done else "not finished",
    )
