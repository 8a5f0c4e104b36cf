"""From a plan to its rules: what each criterion means in production.

A rule renders to PromQL for Prometheus and reads the difference of two scrapes in process, with one verdict.
Every criterion enforced by `alert` or `retrain` becomes one; so do the presence of a ready server, the objectives of
`monitoring.objectives`, faults of what the server runs on, and each failure mode whose `alert` names a fallback reason
of the server.
"""

from __future__ import annotations

from sextant_plan.alerts import CRITERION_VERDICT, Alert, AlertKind, Rule, Severity
from sextant_plan.bias_rule import BiasRule
from sextant_plan.burn_rule import BurnRule
from sextant_plan.catalogue import FALLBACK_REASONS, Enforcement
from sextant_plan.drift_rule import OF_INPUTS, OF_PREDICTIONS, DriftRule
from sextant_plan.errors import UsageError
from sextant_plan.platform_rules import GpuFaultRule, RestartRule
from sextant_plan.presence_rules import ABSENT_HOLD, FailureRule, ReadyRule
from sextant_plan.quality_rule import QualityRule
from sextant_plan.reference import PICTURE_FEATURES
from sextant_plan.schema import Criterion, Plan
from sextant_plan.share_rule import ShareRule
from sextant_plan.shares import errors, share_of, slower_than
from sextant_plan.threshold_rule import ThresholdRule
from sextant_plan.thresholds import THRESHOLDS
from sextant_plan.window import Selector, promql_duration

HOLD = 300.0  # five evaluations at a minute's interval, so that one odd scrape raises nothing; a window at most


def compile_rules(plan: Plan) -> list[Rule]:
    """Return the plan's rules in a stable order.

    Raises UsageError for a criterion that no rule can hold in production, or a failure mode whose alert is
    not one of `alert_references`.
    """
    hold = min(ABSENT_HOLD, plan.monitoring.window)
    rules: list[Rule] = [ReadyRule(plan.name, {"plan": plan.name}, hold=hold)]
    watched = {Enforcement.ALERT, Enforcement.RETRAIN}
    rules += [_criterion_rule(plan, each) for each in plan.criteria if watched & set(each.enforce)]
    for mode in plan.failure:
        if mode.alert is not None and mode.alert not in alert_references(plan):
            known = ", ".join(alert_references(plan))
            raise UsageError(f"failure mode {mode.mode}: no alert is called {mode.alert}. Choose from: {known}.")
        if mode.alert in FALLBACK_REASONS:
            rules.append(FailureRule(mode, mode.alert, plan.name, {"plan": plan.name}))
    rules += objective_rules(plan)
    rules.append(RestartRule(plan.name, {"plan": plan.name}))
    if plan.serving.hardware.gpu > 0:
        rules.append(GpuFaultRule(plan.name, {"plan": plan.name}))
    return rules


def objective_rules(plan: Plan) -> list[BurnRule]:
    """Return the rules on the service's objectives: requests that fail, and requests that take too long."""
    objectives, slow = plan.monitoring.objectives, plan.serving.latency_slo_ms
    counted = {
        "answered": ("requests answered with a 5xx code", errors(plan), objectives.answered),
        "in-time": (f"requests over {slow:g} ms", slower_than(plan, slow), objectives.in_time),
    }
    return [
        BurnRule(
            objective=name,
            what=what,
            model=plan.name,
            events=events,
            rows=rows,
            budget=round(1 - promised, 9),
            period=objectives.period,
            burns=tuple(objectives.burns),
            min_n=plan.monitoring.min_rows,
            labels={"plan": plan.name},
        )
        for name, (what, (events, rows), promised) in counted.items()
    ]


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
    if criterion.relative_to is not None:
        raise UsageError(
            f"criterion {criterion.id}: nothing in production answers for the {criterion.relative_to} too. "
            "Enforce it by gate only, or give alert and retrain a criterion without relative_to."
        )
    labels = {"plan": plan.name, "criterion": criterion.id}
    min_n = plan.monitoring.min_rows  # a window of traffic has a size of its own; min_n is that of the gate's test set
    window, alerting = plan.monitoring.window, Enforcement.ALERT in criterion.enforce
    if criterion.slice is not None or criterion.definition.answers == "number":
        kind = AlertKind.QUALITY_LOW if alerting else None
        join = plan.monitoring.labels.join_at_least
        needed = criterion.min_n if criterion.slice is not None else min_n  # a slice's rows are a part of a window's
        return QualityRule(criterion, kind, plan.name, needed, join, window, _hold(plan), labels)
    if criterion.metric in {"input_psi", "prediction_psi"}:
        return _drift_rule(plan, criterion, labels)
    if criterion.metric == "prediction_bias":
        kind = AlertKind.PREDICTION_BIAS if alerting else None
        return BiasRule(criterion, kind, plan.name, _class_count(plan), min_n, window, _hold(plan), labels)
    if (threshold := THRESHOLDS.get(criterion.metric)) is not None:
        return ThresholdRule(
            criterion=criterion,
            kind=threshold.kind if alerting else None,
            severity=threshold.severity,
            what=threshold.what,
            model=plan.name,
            quantity=threshold.quantity(plan),
            hold=_hold(plan),
            labels=labels,
        )
    share = share_of(plan, criterion)
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
        window=window,
        hold=_hold(plan),
        labels=labels,
    )


def _drift_rule(plan: Plan, criterion: Criterion, labels: dict[str, str]) -> DriftRule:
    of_inputs = criterion.metric == "input_psi"
    kind = AlertKind.INPUT_DRIFT if of_inputs else AlertKind.PREDICTION_DRIFT
    return DriftRule(
        criterion=criterion,
        kind=kind if Enforcement.ALERT in criterion.enforce else None,
        model=plan.name,
        which=OF_INPUTS if of_inputs else OF_PREDICTIONS,
        what="every input feature" if of_inputs else "the predicted class",
        features=profiled_features(plan) if of_inputs else 1,
        min_n=plan.monitoring.min_rows,
        window=plan.monitoring.window,
        hold=_hold(plan),
        labels=labels,
    )


def _class_count(plan: Plan) -> int:
    """Return how many classes the plan lists for the label; 1 where it leaves them to the data."""
    column = plan.data.columns.get(plan.data.label)
    return len(column.values) if column is not None and column.values else 1


def _hold(plan: Plan) -> float:
    return min(HOLD, plan.monitoring.window)


def profiled_features(plan: Plan) -> int:
    """Return how many inputs the server profiles: each column, and a picture's statistics."""
    inputs = plan.model.inputs
    return len(inputs.columns) + len(inputs.features) + (len(PICTURE_FEATURES) if inputs.image else 0)
