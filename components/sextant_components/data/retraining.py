"""What a retraining owes besides its model: a plan that results have frozen, and data that shows what went wrong."""

from __future__ import annotations

from sextant_components.data.sources import Source
from sextant_components.runs.context import RunContext
from sextant_components.runs.frozen_plans import last_frozen, record_amendment
from sextant_monitoring.launcher import TimeWindow
from sextant_plan.ledger import LedgerWriter
from sextant_plan.schema import Plan
from sextant_plan.verdicts import Verdict


def record_retraining(context: RunContext, ledger: LedgerWriter, source: Source, window: TimeWindow) -> None:
    """Record that the plan was frozen before, that its criteria stand, and what the data holds of `window`."""
    _record_frozen(context, ledger)
    record_amendment(context, ledger)
    _record_window(context.plan, ledger, source, window)
    _record_comparison(context.plan, ledger)


def _record_frozen(context: RunContext, ledger: LedgerWriter) -> None:
    frozen = last_frozen(context.home, context.plan.name, other_than=context.run)
    ledger.record(
        "plan in force",
        requirement="a retraining is judged by a plan that an earlier run froze and judged for feasibility",
        risk="a retraining is the back door by which a plan skips its planning phase",
        qa_method="the last evaluated run of this plan's name in this home",
        value={"frozen": frozen.hash, "now": context.plan_hash} if frozen else "no run of this plan was evaluated",
        verdict=Verdict.PASS if frozen else Verdict.UNKNOWN,
    )


def _record_window(plan: Plan, ledger: LedgerWriter, source: Source, window: TimeWindow) -> None:
    """Judge the data's reach only where rows have times; elsewhere the window is put on record and no more."""
    rows = _rows_since(plan, source, window)
    ledger.record(
        "retraining window",
        requirement="the data reaches into the window whose verdict called for the retraining",
        risk="the model is trained again on the rows that it already knows, and what changed is not among them",
        qa_method="rows of data.timestamp at or after the window's start are counted",
        value={"window": str(window), "rows": rows},
        verdict=Verdict.PASS if rows is None or rows > 0 else Verdict.FAIL,
        counts=rows is not None,
    )


def _rows_since(plan: Plan, source: Source, window: TimeWindow) -> int | None:
    """Return how many rows are not older than the window; None where the rows have no times."""
    if plan.data.timestamp is None:
        return None
    times = (batch.to_series() for batch in source.batches([plan.data.timestamp]))
    return sum(int((each.dt.epoch("us") >= window.start * 1e6).sum()) for each in times)


def _record_comparison(plan: Plan, ledger: LedgerWriter) -> None:
    compared = [criterion.id for criterion in plan.criteria if criterion.relative_to == "champion"]
    ledger.record(
        "champion comparison",
        requirement="it is known which criteria compare the new model with the one it would replace",
        risk="a retraining replaces a good model by a worse one that still passes",
        qa_method="the plan's criteria relative_to champion, which evaluate judges on the same sealed rows",
        value=compared or "the plan has none: add a criterion with relative_to: champion",
        verdict=Verdict.PASS if compared else Verdict.UNKNOWN,
        counts=False,
    )
