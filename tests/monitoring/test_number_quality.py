"""A model that answers with numbers is watched as one that answers with classes: joined, alerted on, trained again."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from sextant_monitoring.exporter import Exporter
from sextant_monitoring.launcher import Outcome, TimeWindow
from sextant_monitoring.local_alerts import LocalAlerts
from sextant_monitoring.quality import LabelLogs, WindowQuality, measure_quality
from sextant_monitoring.trigger import Action, Trigger
from sextant_monitoring.watcher import Judged, Look, own_samples
from sextant_monitoring.webhook import Notification
from sextant_plan.alerts import CRITERION_VERDICT, VERDICT_LEVELS, AlertKind
from sextant_plan.bounds import root_mean_square, size_mean
from sextant_plan.prediction_log import COLUMNS
from sextant_plan.rules import compile_rules, retrain_alerts
from sextant_plan.schema import Plan
from sextant_plan.verdicts import Verdict, judge
from sextant_plan.window import Sample, Window

MINUTE = 60.0
START = 1_700_000_040.0  # the end of a window of a minute
TARGET = {"model": "parcels", "version": "1", "variant": "stable"}
LIMIT, ROOT_LIMIT = 10.0, 14.0
CRITERIA: list[dict[str, Any]] = [
    {"id": "error", "metric": "mae", "at_most": LIMIT, "enforce": ["gate", "alert", "retrain"]},
    {"id": "night", "metric": "mae", "at_most": LIMIT, "slice": "light=night", "min_n": 40, "enforce": ["alert"]},
    {"id": "large", "metric": "rmse", "at_most": ROOT_LIMIT, "enforce": ["alert"]},
]
MONITORING: dict[str, Any] = {
    "window": "1m",
    "min_rows": 100,
    "labels": {"delay": "0s", "join_at_least": 0.5},
    "retrain": {"n_of_last": [2, 3], "cooldown": "1h"},
}
PlanMaker = Callable[..., Plan]


@pytest.fixture
def plan(make_plan: PlanMaker) -> Plan:
    """A regression with a limit on its errors over all rows, on a slice and on their squares."""
    model = {
        "task": "tabular-regression",
        "inputs": {"columns": ["weight", "height"]},
        "candidates": [{"architecture": "linear"}],
    }
    goal = {"business": "Weigh.", "why_ml": "Scales are slow.", "baseline": {"kind": "mean"}}
    return make_plan(criteria=CRITERIA, model=model, goal=goal, monitoring=MONITORING, failure=[], serving={})


@pytest.fixture
def logs(tmp_path: Path) -> LabelLogs:
    """Empty places for both logs."""
    (tmp_path / "predictions").mkdir()
    return LabelLogs(tmp_path / "predictions", tmp_path / "feedback.jsonl")


def _errors(size: float, rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=size * np.sqrt(np.pi / 2), size=rows)


def _log(logs: LabelLogs, window: TimeWindow, errors: np.ndarray, *, labelled: int | None = None) -> None:
    """Write answers of 500 and, for the first `labelled`, labels that make these errors; every second row at night."""
    rows = [
        dict.fromkeys(COLUMNS)
        | TARGET
        | {
            "time": datetime.fromtimestamp(window.start + 1, UTC),
            "prediction_id": f"{window.start:.0f}-{place}",
            "assignment": "only",
            "label": "500.0",
            "probability": float("nan"),
            "input.light": "night" if place % 2 else "day",
        }
        for place in range(len(errors))
    ]
    pl.DataFrame(rows, infer_schema_length=None).write_parquet(logs.predictions / f"{window.start:.0f}.parquet")
    with logs.feedback.open("a") as file:
        for row, error in list(zip(rows, errors, strict=True))[:labelled]:
            label = {"prediction_id": row["prediction_id"], "label": repr(500.0 - float(error))}
            file.write(json.dumps({**label, **TARGET, "outcome": "measured", "received": window.end}) + "\n")


def _window(place: int = 0) -> TimeWindow:
    return TimeWindow(START + place * MINUTE, START + (place + 1) * MINUTE)


def _measured(plan: Plan, logs: LabelLogs, place: int = 0) -> WindowQuality:
    (found,) = measure_quality(plan, logs, _window(place))
    return found


def test_errors_by_late_labels_have_the_bounds_of_the_gate(plan: Plan, logs: LabelLogs) -> None:
    """Over all rows, on a slice and squared; a number has no class to be biased to and no accuracy to expect."""
    errors = _errors(8.0, 200)
    _log(logs, _window(), errors, labelled=150)
    found = _measured(plan, logs)
    assert (found.due, found.labelled) == (200, 150)
    wanted = {
        "error": size_mean(np.abs(errors[:150]), 0.95),
        "night": size_mean(np.abs(errors[1:150:2]), 0.95),
        "large": root_mean_square(errors[:150], 0.95),
    }
    for name, estimate in wanted.items():
        got = found.qualities[name]
        assert (got.value, got.low, got.high) == pytest.approx((estimate.value, estimate.low, estimate.high))
        assert got.n == estimate.n
    assert np.isnan(found.expected)
    assert found.bias == {}
    shown = Exporter(plan)
    shown.show(Look(START, MINUTE, [], [found]))
    assert {family.name for family in shown.collect()} == {
        "sextant_quality_error",
        "sextant_quality_rows",
        "sextant_label_join_ratio",
        "sextant_labelled_rows",
    }


@pytest.mark.parametrize("junk", ["heavy", "nan", "inf", ""])
def test_a_label_that_is_no_number_is_no_label(plan: Plan, logs: LabelLogs, junk: str) -> None:
    """It neither spoils the mean nor counts as an answer that came back."""
    _log(logs, _window(), _errors(8.0, 100), labelled=99)
    last = {"prediction_id": f"{START:.0f}-99", "label": junk, **TARGET, "outcome": "measured", "received": START}
    with logs.feedback.open("a") as file:
        file.write(json.dumps(last) + "\n")
    found = _measured(plan, logs)
    assert found.labelled == found.qualities["error"].n == 99
    assert np.isfinite(found.qualities["error"].value)


def _judged(plan: Plan, qualities: list[WindowQuality]) -> list[Judged]:
    ready = Sample("sextant_ready", TARGET, 1.0)
    seen = Window((ready, *own_samples(plan, qualities, None)))
    return [Judged(rule, rule.read(seen)) for rule in compile_rules(plan)]


@pytest.mark.parametrize(
    ("size", "rows", "verdict"),
    [
        pytest.param(5.0, (400, 400), Verdict.PASS, id="proved within"),
        pytest.param(20.0, (400, 400), Verdict.FAIL, id="proved beyond"),
        pytest.param(10.0, (400, 400), Verdict.UNKNOWN, id="at the limit"),
        pytest.param(5.0, (60, 60), Verdict.UNKNOWN, id="too few rows to pass"),
        pytest.param(20.0, (400, 100), Verdict.UNKNOWN, id="too few labels come back"),
    ],
)
def test_a_windows_errors_are_judged_like_the_gates(
    size: float, rows: tuple[int, int], verdict: Verdict, plan: Plan, logs: LabelLogs
) -> None:
    """Beyond the limit with confidence fails, within it passes on enough rows, anything else is unknown."""
    _log(logs, _window(), _errors(size, rows[0]), labelled=rows[1])
    found = {each.name: each.verdict for each in _judged(plan, [_measured(plan, logs)]) if each.rule.criterion}
    assert found["error"] is verdict


class _Started:
    """Whoever would carry out the retraining."""

    def __init__(self) -> None:
        self.windows: list[TimeWindow] = []

    def start(self, request_id: str, window: TimeWindow) -> None:
        """Note the window."""
        self.windows.append(window)

    def change_architecture(self, request_id: str) -> None:
        """Never asked for here."""
        raise AssertionError(request_id)

    def outcome(self, request_id: str) -> Outcome:
        """Return that it goes on."""
        return Outcome.RUNNING


def test_lasting_errors_alert_and_start_a_retraining(plan: Plan, logs: LabelLogs, tmp_path: Path) -> None:
    """From the logs to the launcher: a good window, then two bad ones, by the plan's policy of two in three."""
    alerts, started = LocalAlerts(plan), _Started()
    clock = [START]
    trigger = Trigger(plan, tmp_path, started, clock=lambda: clock[0])
    decided, fired = [], set()
    for place, size in enumerate([5.0, 5.0, 20.0, 20.0]):
        _log(logs, _window(place), _errors(size, 300, seed=place))
        clock[0] = _window(place).end + 1
        quality = [_measured(plan, logs, place)]
        told = alerts.update(Look(clock[0], MINUTE, _judged(plan, quality), quality))
        fired |= {(each["labels"]["alertname"], each["labels"].get("criterion"), place) for each in told}
        decided += trigger.receive(Notification.model_validate({"version": "4", "alerts": told}))
    assert ("SextantQualityLow", "error", 3) in fired
    assert ("SextantRetrainDue", "error", 3) in fired
    assert {place for _, _, place in fired} == {3}  # the alert's hold is a window, the policy asks for two
    assert Action.STARTED in {each.action for each in decided}
    assert started.windows == [_window(3)]


def _input_series(estimate: Any, join: float) -> list[dict[str, str]]:
    labels = ",".join(f'{name}="{value}"' for name, value in TARGET.items())
    values = {f'sextant_quality_rows{{{labels},criterion="error"}}': estimate.n}
    for bound in ("value", "low", "high"):
        values[f'sextant_quality_error{{{labels},criterion="error",bound="{bound}"}}'] = getattr(estimate, bound)
    values[f"sextant_label_join_ratio{{{labels}}}"] = join
    values[f"sextant_ready{{{labels}}}"] = 1
    return [{"series": name, "values": f"{value!r}+0x15"} for name, value in values.items()]


@pytest.mark.servers
def test_prometheus_judges_errors_as_this_process_does(plan: Plan, check: Callable[..., None]) -> None:
    """Every verdict at and around the limit, few rows, few labels; only a proved violation fires, and is retrained."""
    tests, seen = [], set()
    for size in (5.0, 9.0, 10.0, 11.0, 20.0):
        for rows, join in ((400, 0.9), (60, 0.9), (400, 0.2)):
            estimate = size_mean(np.abs(_errors(size, rows)), 0.95)
            verdict = judge(estimate, at_least=None, at_most=LIMIT, min_n=100) if join > 0.5 else Verdict.UNKNOWN
            seen.add(verdict)
            selector = f'{CRITERION_VERDICT}{{criterion="error"}}'
            fires = int(verdict is Verdict.FAIL)
            wanted = {f"sum({selector})": VERDICT_LEVELS[verdict]}
            for kind in (AlertKind.QUALITY_LOW, AlertKind.RETRAIN_DUE):
                wanted[f'count(ALERTS{{alertname="{kind.alert}",alertstate="firing"}}) or vector(0)'] = fires
            queries = [
                {"expr": text, "eval_time": "15m", "exp_samples": [{"labels": "{}", "value": value}]}
                for text, value in wanted.items()
            ]
            tests.append({"interval": "1m", "input_series": _input_series(estimate, join), "promql_expr_test": queries})
    assert seen == set(Verdict)
    check(plan, *tests)


def test_the_alert_tells_the_error_in_the_labels_unit(plan: Plan) -> None:
    """An error of 12 kg is no 1200 %."""
    (rule,) = [each for each in compile_rules(plan) if each.criterion is not None and each.criterion.id == "error"]
    (alert,) = rule.alerts()
    assert "{{ $value | humanize }}" in alert.description
    assert [each.labels["criterion"] for each in retrain_alerts(plan)] == ["error"]
