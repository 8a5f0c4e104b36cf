"""Which shares the server's counters tell: what a criterion counts in production, and among what.

Alert rules, the retrain trigger and the canary's tests all count by this table, so that one criterion means one thing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sextant_plan.alerts import AlertKind, Severity
from sextant_plan.catalogue import (
    BATCH_ROWS,
    FALLBACKS,
    FEATURE_FAILURE,
    FEATURE_MISS,
    FEATURE_OUTAGE,
    FEEDBACK,
    FLAWED_ROWS,
    LOW_CONFIDENCE,
    MISSING,
    OUT_OF_DISTRIBUTION,
    PREDICTIONS,
    QUANTILES,
    QUEUE_SECONDS,
    RATINGS,
    REQUEST_SECONDS,
    REQUESTS,
    UNKNOWN_CATEGORY,
    Series,
)
from sextant_plan.feedback import SATISFIED_FROM
from sextant_plan.schema import Criterion, Plan
from sextant_plan.share_rule import Count, Term
from sextant_plan.window import Matcher, Selector, bucket_edge


@dataclass(frozen=True)
class Share:
    """A metric as a share: what is counted among what, and the limit on it.

    `what` is said of the events, `bad` of the misses. The events of an `at_least` share are among the terms of `rows`.
    """

    kind: AlertKind | None
    severity: Severity
    what: str
    bad: str
    events: Count
    rows: Count
    at_least: float | None = None
    at_most: float | None = None

    @property
    def misses(self) -> Count:
        """What the criterion wants few of: the events themselves, or the rows that are none."""
        if self.at_least is None:
            return self.events
        return Count(tuple(term for term in self.rows.terms if term not in self.events.terms))

    @property
    def miss_limit(self) -> float:
        """The largest share of misses that the criterion allows."""
        if self.at_most is not None:
            return self.at_most
        assert self.at_least is not None
        return round(1 - self.at_least, 12)


def share_of(plan: Plan, criterion: Criterion) -> Share:
    """Return what a criterion counts in production. Raises KeyError for a metric that is no share of its series."""
    return _SHARES[criterion.metric](plan, criterion)


def errors(plan: Plan) -> tuple[Count, Count]:
    """Return requests answered with a 5xx code, and all requests."""
    requests = Selector.of(REQUESTS.name, model=plan.name)
    failed = requests.where(Matcher("code", "5..", regex=True))
    return Count((Term(failed),)), Count((Term(requests),))


def slower_than(plan: Plan, milliseconds: float) -> tuple[Count, Count]:
    """Return requests over a time that is an edge of the server's histogram, and all requests."""
    return _over(plan, REQUEST_SECONDS, milliseconds)


def _over(plan: Plan, series: Series, milliseconds: float) -> tuple[Count, Count]:
    requests = Selector.of(f"{series.name}_count", model=plan.name)
    buckets = Selector.of(f"{series.name}_bucket", model=plan.name)
    within = buckets.where(bucket_edge(milliseconds / 1000))
    return Count((Term(requests), Term(within, -1))), Count((Term(requests),))


def _latency(plan: Plan, criterion: Criterion) -> Share:
    events, rows = slower_than(plan, criterion.limit)
    what = f"requests over {criterion.limit:g} ms"
    at_most = round(1 - QUANTILES[criterion.metric], 9)
    return Share(AlertKind.LATENCY_HIGH, Severity.CRITICAL, what, what, events, rows, at_most=at_most)


def _error_rate(plan: Plan, criterion: Criterion) -> Share:
    events, rows = errors(plan)
    what = "requests answered with a 5xx code"
    return Share(AlertKind.ERRORS_HIGH, Severity.CRITICAL, what, what, events, rows, at_most=criterion.limit)


def _coverage(plan: Plan, criterion: Criterion) -> Share:
    """Count a row without its features as answered where the plan answers from defaults."""
    answered = Selector.of(PREDICTIONS.name, model=plan.name)
    abstains = [LOW_CONFIDENCE, OUT_OF_DISTRIBUTION]
    if plan.serving.fallback.missing_features != "default":
        abstains += [FEATURE_MISS, FEATURE_OUTAGE, FEATURE_FAILURE]
    abstained = Selector.of(FALLBACKS.name, model=plan.name).where(Matcher("reason", "|".join(abstains), regex=True))
    return Share(
        AlertKind.COVERAGE_LOW,
        Severity.WARNING,
        "rows that the model answers itself",
        "rows on which the model abstains",
        Count((Term(answered),)),
        Count((Term(answered), Term(abstained))),
        at_least=criterion.limit,
    )


def _accuracy(plan: Plan, criterion: Criterion) -> Share:
    """Judge the labels that came back; rows on which the model abstained are not its errors."""
    labels = Selector.of(FEEDBACK.name, model=plan.name)
    right, wrong = (Term(labels.where(Matcher("outcome", outcome))) for outcome in ("agree", "disagree"))
    return Share(
        AlertKind.QUALITY_LOW,
        Severity.WARNING,
        "labelled rows that the model had right",
        "labelled rows that the model had wrong",
        Count((right,)),
        Count((right, wrong)),
        at_least=criterion.limit,
    )


def _satisfaction(plan: Plan, criterion: Criterion) -> Share:
    ratings = Selector.of(RATINGS.name, model=plan.name)
    good = "|".join(str(stars) for stars in range(SATISFIED_FROM, 6))
    return Share(
        AlertKind.USERS_DISSATISFIED,
        Severity.WARNING,
        f"ratings of {SATISFIED_FROM} or more",
        f"ratings under {SATISFIED_FROM}",
        Count((Term(ratings.where(Matcher("rating", good, regex=True))),)),
        Count((Term(ratings),)),
        at_least=criterion.limit,
    )


def _queue_wait(plan: Plan, criterion: Criterion) -> Share:
    events, rows = _over(plan, QUEUE_SECONDS, criterion.limit)
    what = f"requests that wait over {criterion.limit:g} ms for their batch"
    at_most = round(1 - QUANTILES[criterion.metric], 9)
    return Share(AlertKind.SATURATED, Severity.WARNING, what, what, events, rows, at_most=at_most)


def _client_errors(plan: Plan, criterion: Criterion) -> Share:
    requests = Selector.of(REQUESTS.name, model=plan.name)
    refused = Count((Term(requests.where(Matcher("code", "4..", regex=True))),))
    what = "requests answered with a 4xx code"
    rows = Count((Term(requests),))
    return Share(AlertKind.CLIENT_ERRORS, Severity.WARNING, what, what, refused, rows, at_most=criterion.limit)


def _flawed(flaw: str, what: str) -> Callable[[Plan, Criterion], Share]:
    def share(plan: Plan, criterion: Criterion) -> Share:
        flawed = Count((Term(Selector.of(FLAWED_ROWS.name, model=plan.name, flaw=flaw)),))
        rows = Count((Term(Selector.of(f"{BATCH_ROWS.name}_sum", model=plan.name)),))
        return Share(AlertKind.INPUTS_FLAWED, Severity.WARNING, what, what, flawed, rows, at_most=criterion.limit)

    return share


def _odd(plan: Plan, criterion: Criterion) -> Share:
    what = "rows with an input far outside of what training has shown"
    outside = Count((Term(Selector.of(FALLBACKS.name, model=plan.name, reason=OUT_OF_DISTRIBUTION)),))
    rows = Count((Term(Selector.of(f"{BATCH_ROWS.name}_sum", model=plan.name)),))
    return Share(AlertKind.INPUTS_FLAWED, Severity.WARNING, what, what, outside, rows, at_most=criterion.limit)


_SHARES: dict[str, Callable[[Plan, Criterion], Share]] = {
    "latency_p50_ms": _latency,
    "latency_p99_ms": _latency,
    "queue_wait_p99_ms": _queue_wait,
    "error_rate": _error_rate,
    "client_error_rate": _client_errors,
    "missing_rate": _flawed(MISSING, "rows with a missing value"),
    "unknown_rate": _flawed(UNKNOWN_CATEGORY, "rows with a category that training never saw"),
    "odd_rate": _odd,
    "coverage": _coverage,
    "accuracy": _accuracy,
    "satisfaction": _satisfaction,
}
