"""Rates of flawed rows: each is recorded, and judged by every criterion that the plan sets on it."""

from __future__ import annotations

from collections.abc import Iterator

from sextant_components.evidence.gates import Settled
from sextant_plan.bounds import proportion
from sextant_plan.ledger import LedgerWriter
from sextant_plan.schema import Criterion, Plan
from sextant_plan.verdicts import Estimate, Verdict, judge

INFORMING_CONFIDENCE = 0.95  # of a rate that no criterion asks for


def judged_share(
    plan: Plan, metric: str, count: int | Settled, rows: int
) -> Iterator[tuple[Criterion | None, Estimate | None, Verdict]]:
    """Yield the share of `count` among `rows` and its verdict by each criterion on `metric`; by none, it passes.

    Without a count there is no share, and the verdict is what settled it.
    """
    wanted: list[Criterion | None] = [criterion for criterion in plan.criteria if criterion.metric == metric]
    for criterion in wanted or [None]:
        if isinstance(count, Settled):
            yield criterion, None, count.verdict
            continue
        estimate = proportion(count, rows, criterion.confidence if criterion else INFORMING_CONFIDENCE)
        verdict = Verdict.PASS
        if criterion is not None:
            verdict = judge(estimate, at_least=None, at_most=criterion.limit, min_n=criterion.min_n)
        yield criterion, estimate, verdict


def record_rate(
    ledger: LedgerWriter,
    plan: Plan,
    metric: str,
    count: int | Settled,
    *,
    rows: int,
    what: str,
    how: str = "count over the whole snapshot, before any row is dropped",
    artifacts: dict[str, str] | None = None,
) -> None:
    """Record the share of rows in which `what` holds, or why it is not known; without a criterion it informs only."""
    for criterion, estimate, verdict in judged_share(plan, metric, count, rows):
        ledger.record(
            metric.replace("_", " "),
            requirement=f"there are few rows in which {what}",
            risk="the model is taught and judged on rows that stand for nothing, or for something else",
            qa_method=f"{how}; Clopper-Pearson bound",
            estimate=estimate,
            value=count.reason if isinstance(count, Settled) else None,
            verdict=verdict,
            criterion=criterion,
            counts=criterion is not None,
            artifacts=artifacts,
        )
