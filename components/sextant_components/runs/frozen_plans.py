"""The plan that earlier runs of a home were judged by, and the proof that a changed one says why it changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sextant_components.runs.context import PLAN_FILE, RUN_FILE, RunContext, Step
from sextant_plan.amendment import amended_criteria
from sextant_plan.errors import PlanError
from sextant_plan.ledger import LedgerWriter, read_run
from sextant_plan.loading import load_plan
from sextant_plan.schema import Plan
from sextant_plan.verdicts import Verdict


@dataclass(frozen=True)
class FrozenPlan:
    """A plan whose results are known, and the run that measured them; `hash` is the one that its records carry."""

    run: Path
    plan: Plan
    hash: str


def last_frozen(home: Path, name: str, *, other_than: Path | None = None) -> FrozenPlan | None:
    """Return the plan of this name whose model was evaluated last in this home; None if none was.

    A plan binds from its evaluation on, because until then nobody knows a result to fit the criteria to. Its hash is
    read from the evaluation's records: a later version of the schema may give the same file another one.
    """
    described = sorted(home.glob(f"runs/*/{RUN_FILE}"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for run in (path.parent for path in described):
        if other_than is not None and run.resolve() == other_than.resolve():
            continue
        if not any((run / "ledger").glob(f"{Step.EVALUATE.value}-*.jsonl")):
            continue
        try:
            plan = load_plan(run / PLAN_FILE)
        except PlanError:  # written for another version of the schema, so there is nothing to compare
            continue
        if plan.name == name:
            records = read_run(run)[Step.EVALUATE.value]
            if records:
                return FrozenPlan(run, plan, records[0].plan_hash)
    return None


def record_amendment(context: RunContext, ledger: LedgerWriter) -> None:
    """Record whether the criteria are those of the last evaluated run, or changed by an amendment of its plan.

    A change without one is `unknown`: the results may have chosen the criteria.
    """
    frozen = last_frozen(context.home, context.plan.name, other_than=context.run)
    if frozen is None:
        return
    changed = amended_criteria(frozen.plan, context.plan)
    amends = context.plan.amends
    named = amends is not None and amends.parent == frozen.hash
    value: dict[str, object] = {"parent": frozen.hash, "changed": changed}
    if changed and not named:
        value["remedy"] = "sextant amend PLAN --author NAME --reason WHY"
    ledger.record(
        "amendment",
        requirement="criteria that differ from those of the last evaluated run come with an amendment of its plan",
        risk="a limit is moved to where the last result happened to fall",
        qa_method="each criterion's hash against the last evaluated plan of this name; amends.parent against its hash",
        value=value,
        verdict=Verdict.UNKNOWN if changed and not named else Verdict.PASS,
    )
