"""Every alert under the real rule engine: one fault fires it and no other, health fires none, and both sides agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sextant_plan.alerts import (
    BIAS_HIGH,
    BIAS_LOW,
    CRITERION_VALUE,
    CRITERION_VERDICT,
    VERDICT_LEVELS,
    Alert,
    AlertKind,
)
from sextant_plan.bias_rule import BiasRule
from sextant_plan.burn_rule import BurnRule
from sextant_plan.rules import compile_rules
from sextant_plan.schema import Plan
from sextant_plan.thresholds import change_before
from sextant_plan.verdicts import Verdict
from sextant_plan.window import Selector

PlanMaker = Callable[..., Plan]
Fault = Callable[[Any], None]
POD = {"pod": "parcels-predictor-5d9", "container": "kserve-container"}
GPU = {"pod": "parcels-predictor-5d9", "gpu": "0"}
OBJECTIVES = {
    "period": "100m",
    "answered": 0.98,
    "burns": [
        {"rate": 4, "long": "20m", "short": "5m", "pages": True},
        {"rate": 2, "long": "1h", "short": "10m"},
    ],
}


def _slow(story: Any) -> None:
    story.grows("sextant_request_seconds_bucket", 303, 270, le="0.05")


def _failing(story: Any) -> None:
    story.grows("sextant_requests_total", 300, 220, code="200")
    story.grows("sextant_requests_total", 0, 80, code="500")


def _drifted(feature: str, *later: float) -> Fault:
    def apply(story: Any) -> None:
        before = (0.5, 0.5) if feature == "prediction" else (0.25, 0.5, 0.25)
        for place, (share, rate) in enumerate(zip(before, later, strict=True)):
            story.grows("sextant_feature_bin_total", 300 * share, 300 * rate, feature=feature, bin=str(place))

    return apply


def _grows(name: str, rate: float, later: float, **labels: str) -> Fault:
    return lambda story: story.grows(name, rate, later, **labels)


def _stands(name: str, value: float, later: float, **labels: str) -> Fault:
    return lambda story: story.stands(name, value, later, **labels)


def _worse(story: Any) -> None:
    for bound, value in (("value", 0.6), ("low", 0.55), ("high", 0.65)):
        story.stands("sextant_quality_ratio", value, criterion="night", bound=bound)


def _unlabelled(story: Any) -> None:
    story.stands("sextant_labelled_rows", 400, 30)
    _drifted("prediction", 0.8, 0.2)(story)


def _quiet(story: Any) -> None:
    story.grows("sextant_requests_total", 300, 30, code="200")


FAULTS: dict[str, tuple[set[AlertKind], Fault]] = {
    "slow": ({AlertKind.LATENCY_HIGH, AlertKind.BUDGET_BURNING}, _slow),
    "failing": ({AlertKind.ERRORS_HIGH, AlertKind.BUDGET_BURNING}, _failing),
    "failing seldom and for long": (
        {AlertKind.ERRORS_HIGH, AlertKind.BUDGET_BURNING},
        _grows("sextant_requests_total", 18, 18, code="500"),
    ),
    "dissatisfied": ({AlertKind.USERS_DISSATISFIED}, _grows("sextant_ratings_total", 10, 300, rating="1")),
    "odd rows": (
        {AlertKind.INPUTS_FLAWED, AlertKind.COVERAGE_LOW},
        _grows("sextant_fallbacks_total", 0, 90, reason="out-of-distribution"),
    ),
    "abstaining": ({AlertKind.COVERAGE_LOW}, _grows("sextant_fallbacks_total", 4, 90, reason="low-confidence")),
    "an input drifts": ({AlertKind.INPUT_DRIFT}, _drifted("weight", 0.1, 0.3, 0.6)),
    "answers drift": ({AlertKind.PREDICTION_DRIFT}, _drifted("prediction", 0.9, 0.1)),
    "wrong": ({AlertKind.QUALITY_LOW}, _grows("sextant_feedback_total", 3, 60, outcome="disagree")),
    "wrong on a slice": ({AlertKind.QUALITY_LOW}, _worse),
    "labels stay away": ({AlertKind.LABELS_MISSING}, _stands("sextant_label_join_ratio", 0.8, 0.2)),
    "missing values": ({AlertKind.INPUTS_FLAWED}, _grows("sextant_flawed_rows_total", 3, 60, flaw="missing")),
    "new category": ({AlertKind.INPUTS_FLAWED}, _grows("sextant_flawed_rows_total", 3, 60, flaw="unknown-category")),
    "long queue": ({AlertKind.SATURATED}, _grows("sextant_queue_wait_seconds_bucket", 303, 250, le="0.05")),
    "busy device": ({AlertKind.SATURATED}, _grows("sextant_device_seconds_sum", 20, 57)),
    "refused": ({AlertKind.CLIENT_ERRORS}, _grows("sextant_requests_total", 3, 150, code="400")),
    "few requests": ({AlertKind.TRAFFIC_ODD}, _quiet),
    "many requests": ({AlertKind.TRAFFIC_ODD}, _grows("sextant_requests_total", 300, 2000, code="200")),
    "biased by the labels": (
        {AlertKind.PREDICTION_BIAS},
        _stands("sextant_prediction_bias_ratio", 0.01, -0.2, **{"class": "b"}),
    ),
    "biased by training, for want of labels": ({AlertKind.PREDICTION_DRIFT, AlertKind.PREDICTION_BIAS}, _unlabelled),
    "lost to age": (
        {AlertKind.MODEL_OLD},
        _stands("sextant_staleness_loss_per_day_ratio", 5e-4, 4e-3, bound="value"),
    ),
    "old model": ({AlertKind.MODEL_OLD}, _stands("sextant_model_created_timestamp_seconds", -1e6, -6e6)),
    "stale features": (
        {AlertKind.FEATURES_STALE},
        _stands("sextant_feature_event_timestamp_seconds", 0, -1e5, view="measures"),
    ),
    "wrong golden answers": ({AlertKind.PROBE_FAILING}, _stands("sextant_probe_success", 1, 0.75)),
    "memory": ({AlertKind.HARDWARE_STRAINED}, _stands("container_memory_working_set_bytes", 1e9, 1.9e9, **POD)),
    "GPU memory": ({AlertKind.HARDWARE_STRAINED}, _stands("DCGM_FI_DEV_FB_FREE", 30e3, 100, **GPU)),
    "GPU heat": ({AlertKind.HARDWARE_STRAINED}, _stands("DCGM_FI_DEV_GPU_TEMP", 60, 92, **GPU)),
    "GPU fault": ({AlertKind.HARDWARE_FAULTY}, _stands("DCGM_FI_DEV_XID_ERRORS", 0, 79, **GPU)),
    "restarts": ({AlertKind.HARDWARE_FAULTY}, _grows("kube_pod_container_status_restarts_total", 0, 0.2, **POD)),
    "not ready": ({AlertKind.NO_READY_SERVER}, _stands("sextant_ready", 1, 0)),
    "store away": (
        {AlertKind.FAILURE_LASTING},
        _grows("sextant_fallbacks_total", 0, 3, reason="feature-outage"),
    ),
    "nothing": (set(), lambda story: None),
}


@pytest.fixture
def plan(make_plan: PlanMaker) -> Plan:
    """Return the plan with every alert, its objectives over hours where a real one has days."""
    return make_plan(monitoring={"window": "4m", "min_rows": 200, "objectives": OBJECTIVES})


def test_every_alert_but_the_machines_own_has_a_fault_here() -> None:
    """No alert is left untried; the one to retrain has its test beside the policy's."""
    tried = set().union(*(kinds for kinds, _ in FAULTS.values()))
    assert tried == set(AlertKind) - {AlertKind.RETRAIN_DUE}


def _spans(plan: Plan) -> set[float]:
    burns = {span for rule in compile_rules(plan) if isinstance(rule, BurnRule) for span in rule.spans}
    return burns | {plan.monitoring.window, change_before(plan), 3600.0}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_a_failed_reading_of_its_rules_and_of_no_other(name: str, plan: Plan, healthy: Any) -> None:
    """In process: the alerts that the fault names are those of failed readings, and no other one is."""
    kinds, apply = FAULTS[name]
    apply(healthy)
    window = healthy.window(plan.monitoring.window, _spans(plan))
    failed, silent = set(), set()
    for rule in compile_rules(plan):
        readings = rule.read(window)
        if not readings and rule.criterion is not None:
            silent.add(rule.criterion.id)
        failed |= {alert.kind for reading in readings for alert in rule.alerts_of(reading)}
    assert failed - {AlertKind.BUDGET_BURNING} == kinds - {AlertKind.BUDGET_BURNING}
    assert (AlertKind.BUDGET_BURNING in failed) >= (AlertKind.BUDGET_BURNING in kinds)
    assert silent == ({"busy"} if name == "not ready" else set())  # nobody is there to be busy


@pytest.mark.servers
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_fires_its_alerts_and_no_other(name: str, plan: Plan, healthy: Any, check: Callable[..., None]) -> None:
    """The same stories under Prometheus: the same alerts, the same verdict and value for each criterion."""
    kinds, apply = FAULTS[name]
    apply(healthy)
    window = healthy.window(plan.monitoring.window, _spans(plan))
    at = f"{healthy.minutes}m"
    firing = {
        "expr": 'count by (alertname) (ALERTS{alertstate="firing",alertname!="SextantRetrainDue"}) > bool 0',
        "eval_time": at,
        "exp_samples": [{"labels": f'{{alertname="{kind.alert}"}}', "value": 1} for kind in sorted(kinds)],
    }
    expected = [firing]
    for rule in compile_rules(plan):
        if isinstance(rule, BurnRule):
            burning = [alert for reading in rule.read(window) for alert in rule.alerts_of(reading)]
            expected += [_fires(alert, alert in burning, at) for alert in rule.alerts()]
        if rule.criterion is None:
            continue
        selector = f'{{plan="parcels",criterion="{rule.criterion.id}"}}'
        for reading in rule.read(window):
            expected.append(_is(f"min({CRITERION_VERDICT}{selector})", VERDICT_LEVELS[reading.verdict], at))
            if reading.estimate is not None:
                expected.append(_is(f"max({CRITERION_VALUE}{selector})", reading.estimate.value, at))
    check(plan, {"interval": "1m", "input_series": healthy.input_series(), "promql_expr_test": expected})


@pytest.mark.servers
def test_the_bounds_of_a_bias_by_training_are_those_of_prometheus(
    plan: Plan, healthy: Any, check: Callable[..., None]
) -> None:
    """Of two classes one is rare in training and is not answered: unknown in both, with the same bounds."""
    healthy.stands("sextant_labelled_rows", 30)
    for place, (share, rate) in enumerate(((0.89, 60), (0.11, 0))):
        healthy.grows("sextant_feature_bin_total", rate, feature="prediction", bin=str(place))
        healthy.stands("sextant_reference_ratio", share, feature="prediction", bin=str(place))
    (rule,) = [rule for rule in compile_rules(plan) if isinstance(rule, BiasRule)]
    (reading,) = rule.read(healthy.window(plan.monitoring.window))
    assert reading.estimate is not None
    assert (reading.verdict, reading.estimate.n) == (Verdict.UNKNOWN, 240)
    recorded = ((BIAS_LOW, reading.estimate.low), (BIAS_HIGH, reading.estimate.high))
    at, selector = f"{healthy.minutes}m", '{criterion="bias",source="training"}'
    expected = [_is(f"max({series}{selector})", value, at) for series, value in recorded]
    expected.append(_is(f'min({CRITERION_VERDICT}{{criterion="bias"}})', VERDICT_LEVELS[reading.verdict], at))
    check(plan, {"interval": "1m", "input_series": healthy.input_series(), "promql_expr_test": expected})


def _fires(alert: Alert, fires: bool, at: str) -> dict[str, Any]:
    """Return promtool's test that an alert fires, or that it does not."""
    labels = {**alert.labels, "alertname": alert.kind.alert, "severity": alert.severity.value, "alertstate": "firing"}
    return {
        "expr": f"count({Selector.of('ALERTS', **labels).promql()}) or vector(0)",
        "eval_time": at,
        "exp_samples": [{"labels": "{}", "value": int(fires)}],
    }


def _is(expression: str, value: float, at: str) -> dict[str, Any]:
    return {
        "expr": f"abs({expression} - {value!r}) < bool 1e-6",
        "eval_time": at,
        "exp_samples": [{"labels": "{}", "value": 1}],
    }
