"""From a plan to its rules: what each criterion means in production.

A rule renders to PromQL for Prometheus and reads the difference of two scrapes in process, with one verdict.
Every criterion enforced by `alert` or `retrain` becomes one; so does the presence of a ready server, and each
failure mode whose `alert` names a fallback reason of the server.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sextant_plan.alerts import CRITERION_VERDICT, Alert, AlertKind, Rule, Severity
from sextant_plan.catalogue import (
    FALLBACK_REASONS,
    FALLBACKS,
    FEATURE_MISS,
    FEATURE_OUTAGE,
    FEEDBACK,
    LOW_CONFIDENCE,
    PREDICTIONS,
    QUANTILES,
    REQUEST_SECONDS,
    REQUESTS,
    Enforcement,
)
from sextant_plan.drift_rule import DriftRule
from sextant_plan.errors import UsageError
from sextant_plan.presence_rules import FailureRule, ReadyRule
from sextant_plan.schema import Criterion, Plan
from sextant_plan.share_rule import Count, ShareRule, Term
from sextant_plan.window import Matcher, Selector, bucket_edge, promql_duration

HOLD = 300.0  # five evaluations at a minute's interval, so that one odd scrape raises nothing


@dataclass(frozen=True)
class _Share:
    """A metric as a share: what is counted among what, and the limits on it."""

    kind: AlertKind | None
    severity: Severity
    what: str
    events: Count
    rows: Count
    at_least: float | None = None
    at_most: float | None = None


def compile_rules(plan: Plan) -> list[Rule]:
    """Return the plan's rules in a stable order.

    Raises UsageError for a criterion that no rule can hold in production, or a failure mode whose alert is
    not one of `alert_references`.
    """
    rules: list[Rule] = [ReadyRule(plan.name, {"plan": plan.name})]
    watched = {Enforcement.ALERT, Enforcement.RETRAIN}
    rules += [_criterion_rule(plan, each) for each in plan.criteria if watched & set(each.enforce)]
    for mode in plan.failure:
        if mode.alert is not None and mode.alert not in alert_references(plan):
            known = ", ".join(alert_references(plan))
            raise UsageError(f"failure mode {mode.mode}: no alert is called {mode.alert}. Choose from: {known}.")
        if mode.alert in FALLBACK_REASONS:
            rules.append(FailureRule(mode, mode.alert, plan.name, {"plan": plan.name}))
    return rules


def alert_references(plan: Plan) -> list[str]:
    """Return what a failure mode's `alert` may name: alerting criteria, the readiness alert, fallback reasons."""
    criteria = [criterion.id for criterion in plan.criteria if Enforcement.ALERT in criterion.enforce]
    return [*criteria, AlertKind.NO_READY_SERVER.value, *FALLBACK_REASONS]


def retrain_alerts(plan: Plan) -> list[Alert]:
    """Return an alert for each criterion enforced by `retrain`: n of its last m windows fail, and the latest does.

    Windows are those that end at whole multiples of the plan's window since the epoch. The subquery's range is a
    second short of m windows, so that it holds m such ends whichever side of it Prometheus includes.
    """
    count, of_last = plan.monitoring.retrain.n_of_last
    window = plan.monitoring.window
    alerts = []
    for criterion in plan.criteria:
        if Enforcement.RETRAIN not in criterion.enforce:
            continue
        labels = {"plan": plan.name, "criterion": criterion.id}
        failed = f"({Selector.of(CRITERION_VERDICT, **labels).promql()} == bool -1)"
        step = promql_duration(window)
        recent, latest = (promql_duration(max(span * window - 1, 0.001)) for span in (of_last, 1))
        alerts.append(
            Alert(
                AlertKind.RETRAIN_DUE,
                f"sum_over_time({failed}[{recent}:{step}]) >= {count} and sum_over_time({failed}[{latest}:{step}]) > 0",
                0.0,
                Severity.INFO,
                f"{plan.name}: retraining is due for {criterion.id}",
                f"{criterion.id} was violated in {{{{ $value }}}} of the last {of_last} windows of {step}, "
                f"the latest among them; the plan retrains at {count}.",
                labels,
            )
        )
    return alerts


def _criterion_rule(plan: Plan, criterion: Criterion) -> Rule:
    if criterion.slice is not None or criterion.relative_to is not None:
        raise UsageError(
            f"criterion {criterion.id}: the server's counters know neither slices nor the baseline. "
            "Enforce it by gate only, or give alert and retrain a criterion without slice and relative_to."
        )
    labels = {"plan": plan.name, "criterion": criterion.id}
    min_n = plan.monitoring.min_rows  # a window of traffic has a size of its own; min_n is that of the gate's test set
    alerting = Enforcement.ALERT in criterion.enforce
    if criterion.metric == "input_psi":
        kind = AlertKind.INPUT_DRIFT if alerting else None
        return DriftRule(criterion, kind, plan.name, _feature_count(plan), min_n, plan.monitoring.window, HOLD, labels)
    share = _SHARES[criterion.metric](plan, criterion)
    return ShareRule(
        criterion=criterion,
        kind=share.kind if alerting else None,
        severity=share.severity,
        what=share.what,
        model=plan.name,
        events=share.events,
        rows=share.rows,
        at_least=share.at_least,
        at_most=share.at_most,
        min_n=min_n,
        window=plan.monitoring.window,
        hold=HOLD,
        labels=labels,
    )


def _feature_count(plan: Plan) -> int:
    """Return how many inputs the server profiles: each column, and a picture's brightness and contrast."""
    inputs = plan.model.inputs
    return len(inputs.columns) + len(inputs.features) + (2 if inputs.image else 0)


def _latency(plan: Plan, criterion: Criterion) -> _Share:
    requests = Selector.of(f"{REQUEST_SECONDS.name}_count", model=plan.name)
    buckets = Selector.of(f"{REQUEST_SECONDS.name}_bucket", model=plan.name)
    within = buckets.where(bucket_edge(criterion.limit / 1000))
    return _Share(
        AlertKind.LATENCY_HIGH,
        Severity.CRITICAL,
        f"requests over {criterion.limit:g} ms",
        Count((Term(requests), Term(within, -1))),
        Count((Term(requests),)),
        at_most=round(1 - QUANTILES[criterion.metric], 9),
    )


def _error_rate(plan: Plan, criterion: Criterion) -> _Share:
    requests = Selector.of(REQUESTS.name, model=plan.name)
    return _Share(
        AlertKind.ERRORS_HIGH,
        Severity.CRITICAL,
        "requests answered with a 5xx code",
        Count((Term(requests.where(Matcher("code", "5..", regex=True))),)),
        Count((Term(requests),)),
        at_most=criterion.limit,
    )


def _coverage(plan: Plan, criterion: Criterion) -> _Share:
    """Count a row without its features as answered where the plan answers from defaults."""
    answered = Selector.of(PREDICTIONS.name, model=plan.name)
    abstains = [LOW_CONFIDENCE]
    if plan.serving.fallback.missing_features != "default":
        abstains += [FEATURE_MISS, FEATURE_OUTAGE]
    abstained = Selector.of(FALLBACKS.name, model=plan.name).where(Matcher("reason", "|".join(abstains), regex=True))
    return _Share(
        AlertKind.COVERAGE_LOW,
        Severity.WARNING,
        "rows that the model answers itself",
        Count((Term(answered),)),
        Count((Term(answered), Term(abstained))),
        at_least=criterion.limit,
    )


def _accuracy(plan: Plan, criterion: Criterion) -> _Share:
    """Judge the labels that came back; rows on which the model abstained are not its errors."""
    labels = Selector.of(FEEDBACK.name, model=plan.name)
    return _Share(
        None,
        Severity.WARNING,
        "labelled rows that the model had right",
        Count((Term(labels.where(Matcher("outcome", "agree"))),)),
        Count((Term(labels.where(Matcher("outcome", "agree|disagree", regex=True))),)),
        at_least=criterion.limit,
    )


_SHARES: dict[str, Callable[[Plan, Criterion], _Share]] = {
    "latency_p50_ms": _latency,
    "latency_p99_ms": _latency,
    "error_rate": _error_rate,
    "coverage": _coverage,
    "accuracy": _accuracy,
}
