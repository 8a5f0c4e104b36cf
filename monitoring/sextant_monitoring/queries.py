"""The queries of the dashboards, apart from how they are drawn."""

from __future__ import annotations

from dataclasses import dataclass

from sextant_plan.alerts import (
    CRITERION_VALUE,
    CRITERION_VERDICT,
    FEATURE_CHI_SQUARE,
    FEATURE_PSI,
    TARGET,
    Rule,
)
from sextant_plan.catalogue import (
    BATCH_ROWS,
    DECODE_SECONDS,
    DEVICE_SECONDS,
    FALLBACKS,
    FEATURE_SECONDS,
    FEEDBACK,
    MODEL_CREATED,
    PREDICTIONS,
    QUEUE_SECONDS,
    READY,
    REQUEST_SECONDS,
    REQUESTS,
    Series,
)
from sextant_plan.drift_rule import DriftRule
from sextant_plan.window import Selector, recorded

RATE = "$__rate_interval"  # Grafana's: four scrapes or one pixel, whichever is longer
BY_VERSION = "{{version}} {{variant}}"


@dataclass(frozen=True)
class Query:
    """A PromQL expression and the legend of its series."""

    expr: str
    legend: str


def verdict(rule: Rule) -> Query:
    """Return the worst verdict of a criterion over all targets: -1, 0 or 1."""
    return Query(f"min({recorded(CRITERION_VERDICT, rule.labels)})", rule.requirement)


def value(rule: Rule) -> Query:
    """Return a criterion's measured value by target."""
    return Query(recorded(CRITERION_VALUE, rule.labels), BY_VERSION)


def feature_psi(rule: DriftRule) -> Query:
    """Return the corrected stability index of each feature."""
    return Query(recorded(FEATURE_PSI, rule.labels), "{{feature}} {{version}} {{variant}}")


def feature_chi_square(rule: DriftRule) -> Query:
    """Return the chi-square statistic of each feature."""
    return Query(recorded(FEATURE_CHI_SQUARE, rule.labels), "{{feature}} {{version}} {{variant}}")


def requests(model: str) -> Query:
    """Return requests a second by status code."""
    return _rate_by(REQUESTS, model, "code")


def request_time(model: str) -> tuple[Query, Query]:
    """Return the median and the 99th percentile of the request time."""
    return _quantile(REQUEST_SECONDS, model, 0.5, "median "), _quantile(REQUEST_SECONDS, model, 0.99, "p99 ")


def ready(model: str) -> Query:
    """Return how many servers are ready, by version."""
    return Query(f"sum by ({TARGET}) ({Selector.of(READY.name, model=model).promql()})", BY_VERSION)


def queue_wait(model: str) -> Query:
    """Return the 99th percentile of the wait for a batch."""
    return _quantile(QUEUE_SECONDS, model, 0.99)


def device_time(model: str) -> Query:
    """Return the 99th percentile of a batch's time on the device."""
    return _quantile(DEVICE_SECONDS, model, 0.99)


def decode_time(model: str) -> Query:
    """Return the 99th percentile of a picture's decoding."""
    return _quantile(DECODE_SECONDS, model, 0.99)


def feature_time(model: str) -> Query:
    """Return the 99th percentile of an online feature lookup."""
    return _quantile(FEATURE_SECONDS, model, 0.99)


def batch_rows(model: str) -> Query:
    """Return the mean number of rows in a batch."""
    rows, batches = (
        f"sum by ({TARGET}) (rate({Selector.of(BATCH_ROWS.name + part, model=model).promql()}[{RATE}]))"
        for part in ("_sum", "_count")
    )
    return Query(f"{rows} / {batches}", BY_VERSION)


def model_age(model: str) -> Query:
    """Return the seconds since the bundle was sealed."""
    created = Selector.of(MODEL_CREATED.name, model=model).promql()
    return Query(f"time() - max by ({TARGET}) ({created})", BY_VERSION)


def classes(model: str) -> Query:
    """Return each class's share of the answered rows."""
    rate = f"rate({Selector.of(PREDICTIONS.name, model=model).promql()}[{RATE}])"
    shares = f"sum by (class, {TARGET}) ({rate}) / on ({TARGET}) group_left () sum by ({TARGET}) ({rate})"
    return Query(shares, "{{class}} {{version}} {{variant}}")


def fallbacks(model: str) -> Query:
    """Return rows a second that fell back, by reason."""
    return _rate_by(FALLBACKS, model, "reason")


def feedback(model: str) -> Query:
    """Return labels a second, by agreement with the prediction."""
    return _rate_by(FEEDBACK, model, "outcome")


def _rate_by(series: Series, model: str, label: str) -> Query:
    rate = f"rate({Selector.of(series.name, model=model).promql()}[{RATE}])"
    return Query(f"sum by ({label}, {TARGET}) ({rate})", f"{{{{{label}}}}} {BY_VERSION}")


def _quantile(series: Series, model: str, q: float, legend: str = "") -> Query:
    buckets = Selector.of(f"{series.name}_bucket", model=model).promql()
    rate = f"sum by (le, {TARGET}) (rate({buckets}[{RATE}]))"
    return Query(f"histogram_quantile({q}, {rate})", legend + BY_VERSION)
