"""The rendered rules under the real Prometheus rule engine: equal to the in-process ones, silent and firing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from sextant_monitoring.launcher import TimeWindow, WindowVerdict, is_retrain_due
from sextant_monitoring.scrape import Scrape, parse_scrape, window_between
from sextant_plan.alerts import CRITERION_VALUE, CRITERION_VERDICT, VERDICT_LEVELS, AlertKind, Reading
from sextant_plan.catalogue import COMMON_LABELS
from sextant_plan.rules import compile_rules
from sextant_plan.schema import Plan
from sextant_plan.verdicts import Verdict

pytestmark = pytest.mark.servers

PlanMaker = Callable[..., Plan]
TARGET_LABELS = 'model="parcels",version="1",variant="stable"'
Check = Callable[..., None]
MINUTES = 10  # of the plans' window here
EDGES = ("0.05", "0.1", "1.0", "+Inf")
OTHERS = "SextantRetrainDue|SextantBudgetBurning"  # they judge other spans than one window
CLEAN = {"errors": 0, "slow": 0, "abstained": 0, "wrong": 0, "shift": 0.0}


def _page(new_page: Callable[..., Any], *, scale: float, rows: int, **extra: float) -> tuple[Any, Any]:
    """Return the pages before and after a window of `rows` requests with so many faults among them."""
    fault = CLEAN | extra
    labelled = rows // 2
    bins = np.array([0.25, 0.5, 0.25]) + np.array([fault["shift"], 0, -fault["shift"]])
    start = {
        "sextant_requests_total": {("200",): 90.0 * scale, ("500",): 3.0 * scale},
        "sextant_predictions_total": {("a",): 80.0 * scale, ("b",): 10.0 * scale},
        "sextant_fallbacks_total": {("low-confidence",): 4.0 * scale, ("feature-outage",): 2.0 * scale},
        "sextant_feedback_total": {("agree",): 30.0 * scale, ("disagree",): 3.0 * scale},
        "sextant_feature_bin_total": {
            (name, str(place)): 10.0 * scale for name in ("weight", "height") for place in range(3)
        },
        "sextant_reference_ratio": {
            (name, str(place)): share
            for name, shares in (("weight", (0.25, 0.5, 0.25)), ("height", (0.0, 1.0, 0.0)))
            for place, share in enumerate(shares)
        },
    }
    before = new_page(start, dict.fromkeys(EDGES, 90.0 * scale))
    after = before.grown(
        {
            "sextant_requests_total": {("200",): rows - fault["errors"], ("500",): fault["errors"]},
            "sextant_predictions_total": {("a",): rows - fault["abstained"]},
            "sextant_fallbacks_total": {("low-confidence",): fault["abstained"]},
            "sextant_feedback_total": {("agree",): labelled - fault["wrong"], ("disagree",): fault["wrong"]},
            "sextant_feature_bin_total": {
                **{("weight", str(place)): round(rows * share) for place, share in enumerate(bins)},
                ("height", "1"): rows,
            },
        },
        {"0.05": rows - fault["slow"], "0.1": rows, "1.0": rows, "+Inf": rows},
    )
    return before, after


def _series(before: Scrape, after: Scrape, minutes: int, *, restarted: bool = False) -> list[dict[str, str]]:
    """Return promtool's input series: every counter grows evenly; after a restart it does so from 0."""
    lines = []
    for name, labels in after.counters:
        old, new = before.counters[name, labels], after.counters[name, labels]
        values = f"{old!r}+{(new - old) / MINUTES!r}x{minutes}"
        if restarted:
            values = f"{old!r}+0x{MINUTES // 2 - 1} 0+{new / (MINUTES // 2)!r}x{minutes - MINUTES // 2}"
        lines.append({"series": _name(name, labels), "values": values})
    lines += [
        {"series": _name(name, labels), "values": f"{value!r}+0x{minutes}"}
        for (name, labels), value in after.gauges.items()
    ]
    return lines


def _name(name: str, labels: Iterable[tuple[str, str]]) -> str:
    return f"{name}{{{','.join(f'{key}={value!r}' for key, value in sorted(labels))}}}".replace("'", '"')


def _expectation(plan: Plan, criterion: str, reading: Reading) -> dict[str, Any]:
    target = dict(zip(COMMON_LABELS, reading.target, strict=True))
    labels = _name("", {**target, "plan": plan.name, "criterion": criterion}.items())
    return {
        "expr": CRITERION_VERDICT + labels,
        "eval_time": f"{MINUTES}m",
        "exp_samples": [{"labels": CRITERION_VERDICT + labels, "value": VERDICT_LEVELS[reading.verdict]}],
    }


def _value_expectation(plan: Plan, criterion: str, reading: Reading) -> dict[str, Any]:
    assert reading.estimate is not None
    selector = _name(CRITERION_VALUE, {"plan": plan.name, "criterion": criterion}.items())
    return {
        "expr": f"abs(sum({selector}) - {reading.estimate.value!r}) < bool 1e-9",
        "eval_time": f"{MINUTES}m",
        "exp_samples": [{"labels": "{}", "value": 1}],
    }


def _case(plan: Plan, before: Any, after: Any, *, restarted: bool = False) -> tuple[dict[str, Any], set[str]]:
    """Return promtool's test that every criterion gets the in-process verdict and value, and those verdicts."""
    old, new = parse_scrape(before.render()), parse_scrape(after.render())
    window, expected, seen = window_between(old, new), [], set()
    for rule in compile_rules(plan):
        if rule.criterion is None:
            continue
        (reading,) = rule.read(window)
        seen.add(f"{rule.criterion.id} {reading.verdict}")
        expected.append(_expectation(plan, rule.criterion.id, reading))
        if reading.estimate is not None:
            expected.append(_value_expectation(plan, rule.criterion.id, reading))
    series = _series(old, new, MINUTES, restarted=restarted)
    return {"interval": "1m", "input_series": series, "promql_expr_test": expected}, seen


def test_prometheus_and_the_local_rules_agree_on_every_verdict(
    counted_plan: Plan, new_page: Callable[..., Any], check: Check
) -> None:
    """Over 30 random windows each criterion has the same verdict and value in both; every verdict occurs."""
    plan, random = counted_plan, np.random.default_rng(7)
    tests, seen = [], set()
    for _ in range(30):
        rows = int(random.choice([0, 60, 240, 600, 3000]))
        faults = {
            "errors": random.binomial(rows, random.choice([0, 0.005, 0.01, 0.03])),
            "slow": random.binomial(rows, random.choice([0, 0.002, 0.01, 0.03])),
            "abstained": random.binomial(rows, random.choice([0, 0.05, 0.1, 0.2])),
            "wrong": random.binomial(rows // 2, random.choice([0, 0.05, 0.1, 0.2])),
            "shift": float(random.choice([0, 0.02, 0.08, 0.15])),
        }
        test, verdicts = _case(plan, *_page(new_page, scale=float(random.integers(0, 50)), rows=rows, **faults))
        tests.append(test)
        seen |= verdicts
    decided = ("accuracy", "coverage", "latency", "errors", "input-drift")
    assert {f"{name} {verdict}" for name in decided for verdict in VERDICT_LEVELS} <= seen
    check(plan, *tests)


def test_they_agree_after_a_restart(counted_plan: Plan, new_page: Callable[..., Any], check: Check) -> None:
    """A server that began anew half-way has its counters read from 0 in both."""
    plan = counted_plan
    before, _ = _page(new_page, scale=1000.0, rows=0)
    empty, after = _page(new_page, scale=0.0, rows=3000, errors=90, slow=60)
    assert empty.ready
    test, seen = _case(plan, before, after, restarted=True)
    assert {"errors fail", "latency fail", "coverage pass"} <= seen
    check(plan, test)


def test_a_server_without_the_limits_edge_is_unknown_in_both(
    counted_plan: Plan, new_page: Callable[..., Any], check: Check
) -> None:
    """Requests whose time cannot be placed beside the limit are not all taken for slow ones."""
    plan = counted_plan
    before, after = _page(new_page, scale=1.0, rows=3000)
    for page in (before, after):
        del page.latency["0.05"]
    old, new = parse_scrape(before.render()), parse_scrape(after.render())
    (rule,) = [rule for rule in compile_rules(plan) if rule.criterion and rule.criterion.id == "latency"]
    assert [str(reading.verdict) for reading in rule.read(window_between(old, new))] == ["unknown"]
    silent = {
        "expr": f'{CRITERION_VERDICT}{{criterion="latency"}}',
        "eval_time": f"{MINUTES}m",
        "exp_samples": [],
    }
    test = {"interval": "1m", "input_series": _series(old, new, MINUTES), "promql_expr_test": [silent]}
    check(plan, test)


FAULTS = [
    pytest.param(AlertKind.LATENCY_HIGH, {"slow": 300}, id="latency"),
    pytest.param(AlertKind.ERRORS_HIGH, {"errors": 300}, id="errors"),
    pytest.param(AlertKind.COVERAGE_LOW, {"abstained": 900}, id="coverage"),
    pytest.param(AlertKind.INPUT_DRIFT, {"shift": 0.2}, id="drift"),
]


@pytest.mark.parametrize(("kind", "fault"), [*FAULTS, pytest.param(None, {}, id="nothing")])
def test_each_fault_fires_its_alert_and_no_other(
    kind: AlertKind | None,
    fault: dict[str, float],
    counted_plan: Plan,
    new_page: Callable[..., Any],
    check: Check,
) -> None:
    """A window and ten minutes of one fault; a healthy server is silent."""
    before, after = _page(new_page, scale=1.0, rows=3000, **fault)
    series = _series(parse_scrape(before.render()), parse_scrape(after.render()), MINUTES + 10)
    check(counted_plan, _firing(series, [kind] if kind else [], minutes=MINUTES + 10))


def _firing(series: list[dict[str, str]], kinds: list[AlertKind], *, minutes: int) -> dict[str, Any]:
    """Return promtool's test that exactly these alerts are firing, whatever their number of series."""
    query = {
        "expr": f'count by (alertname) (ALERTS{{alertstate="firing",alertname!~"{OTHERS}"}}) > bool 0',
        "eval_time": f"{minutes}m",
        "exp_samples": [{"labels": f'{{alertname="{kind.alert}"}}', "value": 1} for kind in kinds],
    }
    return {"interval": "1m", "input_series": series, "promql_expr_test": [query]}


@pytest.mark.parametrize("values", [pytest.param(None, id="vanished"), pytest.param("0+0x10", id="never ready")])
def test_a_model_without_a_ready_server_is_an_alert(values: str | None, counted_plan: Plan, check: Check) -> None:
    """No series at all, or servers that never become ready."""
    ready = f"sextant_ready{{{TARGET_LABELS}}}"
    series = [{"series": ready, "values": values}] if values else []
    test = _firing(series, [AlertKind.NO_READY_SERVER], minutes=5)
    check(counted_plan, test)


@pytest.mark.parametrize(
    ("outage", "fires"), [pytest.param(4, False, id="short"), pytest.param(12, True, id="lasting")]
)
def test_a_failure_mode_alerts_once_it_outlasts_the_plan(
    outage: int, fires: bool, counted_plan: Plan, check: Check
) -> None:
    """The plan allows the store 5 minutes; rows fall back for 4, or for 12."""
    fallbacks = f'sextant_fallbacks_total{{{TARGET_LABELS},reason="feature-outage"}}'
    series = [
        {"series": f"sextant_ready{{{TARGET_LABELS}}}", "values": "1+0x20"},
        {"series": fallbacks, "values": f"0+0x3 1+1x{outage} {outage + 1}+0x{20 - outage}"},
    ]
    test = _firing(series, [AlertKind.FAILURE_LASTING] if fires else [], minutes=outage + 4)
    check(counted_plan, test)


@pytest.mark.parametrize(
    ("verdicts", "due"),
    [
        pytest.param("FFFPF", True, id="n of m and the latest"),
        pytest.param("FFFFP", False, id="the latest is good"),
        pytest.param("FPPPF", False, id="too few"),
        pytest.param("FUFUF", True, id="unknown in between"),
        pytest.param("FFPPPPPF", False, id="too long ago"),
    ],
)
def test_prometheus_retrains_when_the_policy_does(verdicts: str, due: bool, make_plan: PlanMaker, check: Check) -> None:
    """The retrain alert and the launcher's policy agree on windows that the rules have already judged."""
    plan = make_plan(criteria=[{"id": "live", "metric": "accuracy", "at_least": 0.9, "enforce": ["retrain"]}])
    meaning = {"F": Verdict.FAIL, "P": Verdict.PASS, "U": Verdict.UNKNOWN}
    history = [
        WindowVerdict(TimeWindow((place - 1) * 600.0, place * 600.0), meaning[letter])
        for place, letter in enumerate(verdicts)
    ]
    assert is_retrain_due(history, plan.monitoring.retrain, last_start=None) is due
    recorded = f'{CRITERION_VERDICT}{{plan="parcels",criterion="live",{TARGET_LABELS}}}'
    values = " ".join(f"{VERDICT_LEVELS[meaning[letter]]}+0x9" for letter in verdicts)
    query = {
        "expr": 'count(ALERTS{alertname="SextantRetrainDue",alertstate="firing"}) or vector(0)',
        "eval_time": f"{10 * (len(verdicts) - 1)}m",
        "exp_samples": [{"labels": "{}", "value": int(due)}],
    }
    series = [{"series": recorded, "values": values}]
    check(plan, {"interval": "1m", "input_series": series, "promql_expr_test": [query]})
