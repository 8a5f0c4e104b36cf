"""Is there enough data to prove the criteria at all?"""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from sextant_components.data.table_files import as_text
from sextant_components.data.tables import stored_name
from sextant_components.planning.feasibility.heading import Heading, Study, verdict_of
from sextant_plan.bounds import rows_to_prove
from sextant_plan.catalogue import QUANTILES, Enforcement
from sextant_plan.schema import Criterion
from sextant_plan.types import DAY


def assess(study: Study) -> Heading:
    """Compare the rows that each gate needs with those that the sealed split, or the load test, will give it."""
    counts = Counter(study.labels)
    gates = [criterion for criterion in study.plan.criteria if Enforcement.GATE in criterion.enforce]
    needs = {
        criterion.id: {"needed": needed_rows(criterion), "available": _available(study, criterion, counts)}
        for criterion in gates
    }
    short = [name for name, need in needs.items() if need["available"] < need["needed"]]
    return Heading(
        task="feasibility: data availability",
        requirement="each gate gets the rows without which no model, however good, can pass it",
        risk="months of work end in a test set that can prove nothing",
        qa_method="rows by class and their rate of arrival against min_n and the fewest rows whose bound can reach the "
        "limit (Clopper-Pearson)",
        value={
            "rows": study.rows.height,
            "classes": dict(sorted(counts.items())),
            "arrival": _arrival(study, [need["needed"] / max(need["available"], 1) for need in needs.values()]),
            "criteria": needs,
            "short": short,
        },
        verdict=verdict_of(short),
    )


def _arrival(study: Study, shortages: list[float]) -> dict[str, float] | None:
    """Return rows a day by their timestamps, and the days until the scarcest gate has its rows; None without time.

    Gates get a fixed share of the rows, so a gate that has half of what it needs waits until the rows have doubled.
    """
    if study.plan.data.timestamp is None:
        return None
    times: list[datetime] = study.rows[study.plan.data.timestamp].drop_nulls().to_list()
    days = (max(times) - min(times)).total_seconds() / DAY
    if days <= 0:
        return None
    rate = study.rows.height / days
    missing = (max(shortages, default=0.0) - 1) * study.rows.height
    return {
        "rows_a_day": round(rate, 3),
        "days": round(days, 3),
        "days_until_enough": round(max(0.0, missing) / rate, 1),
    }


def needed_rows(criterion: Criterion) -> int:
    """Return the fewest rows, or requests, on which the criterion can pass."""
    if criterion.metric in QUANTILES:
        share = QUANTILES[criterion.metric]
    elif criterion.definition.estimator != "proportion" or criterion.relative_to is not None:
        return criterion.min_n
    else:
        share = criterion.at_least if criterion.at_least is not None else 1 - criterion.limit
    provable = rows_to_prove(share, criterion.confidence) if 0 < share < 1 else 1
    return max(criterion.min_n, provable)


def _available(study: Study, criterion: Criterion, counts: Counter[str]) -> int:
    if criterion.definition.by_request:
        return study.plan.evaluation.latency_requests
    if criterion.definition.step != "evaluate":
        return study.rows.height
    share = study.plan.evaluation.sealed_split
    if criterion.metric == "recall_min":
        return min(round(share * count) for count in counts.values())
    rows = study.rows.height
    column, equals, value = (criterion.slice or "").partition("=")
    if equals:
        rows = int((as_text(study.rows[stored_name(study.plan, column)]) == value).sum())
    return round(share * rows)
