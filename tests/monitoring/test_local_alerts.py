"""Alerts without Prometheus: what fires, when it ends, and when a retraining is due."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sextant_monitoring.local_alerts import LocalAlerts
from sextant_monitoring.watcher import Judged, Look
from sextant_monitoring.webhook import Notification
from sextant_plan.alerts import Reading
from sextant_plan.burn_rule import BurnRule
from sextant_plan.rules import compile_rules
from sextant_plan.schema import Plan
from sextant_plan.verdicts import Verdict

PlanMaker = Callable[..., Plan]
TARGET = ("parcels", "1", "stable")
START = 1_700_000_040.0  # the end of a window of 60 s
DRIFT = "input-drift"


@pytest.fixture
def plan(make_plan: PlanMaker) -> Plan:
    """A plan with windows of a minute that retrains when two of the last three have failed."""
    return make_plan(monitoring={"window": "1m", "min_rows": 200, "retrain": {"n_of_last": [2, 3], "cooldown": "1h"}})


@pytest.fixture
def look_at(plan: Plan) -> Callable[..., Look]:
    """Return a maker of looks in which one criterion has a verdict and every other passes."""
    rules = compile_rules(plan)

    def look(at: float, verdict: Verdict, criterion: str = DRIFT, version: str = "1") -> Look:
        judged = []
        for rule in rules:
            mine = rule.criterion is not None and rule.criterion.id == criterion
            found = verdict if mine else Verdict.PASS
            judged.append(Judged(rule, [Reading(("parcels", version, "stable"), found)]))
        return Look(at, 60.0, judged)

    return look


def _names(alerts: list[dict[str, Any]], status: str = "firing") -> set[str]:
    return {each["labels"]["alertname"] for each in alerts if each["status"] == status}


def test_an_alert_fires_after_its_hold_and_ends_once(plan: Plan, look_at: Callable[..., Look]) -> None:
    """One bad look raises nothing; after a minute of them the alert fires; the first good one ends it, told once."""
    alerts = LocalAlerts(plan)
    assert alerts.update(look_at(START + 1, Verdict.FAIL)) == []
    assert alerts.update(look_at(START + 30, Verdict.FAIL)) == []
    assert _names(alerts.update(look_at(START + 61, Verdict.FAIL))) == {"SextantInputDrift"}
    ended = alerts.update(look_at(START + 70, Verdict.PASS))
    assert (_names(ended), _names(ended, "resolved")) == (set(), {"SextantInputDrift"})
    assert alerts.update(look_at(START + 80, Verdict.PASS)) == []


def test_a_good_look_begins_the_hold_anew(plan: Plan, look_at: Callable[..., Look]) -> None:
    """Failures count as lasting only while they follow each other."""
    alerts = LocalAlerts(plan)
    for second, verdict in ((1, Verdict.FAIL), (40, Verdict.PASS), (41, Verdict.FAIL)):
        alerts.update(look_at(START + second, verdict))
    assert alerts.update(look_at(START + 70, Verdict.FAIL)) == []


def test_two_versions_have_alerts_of_their_own(plan: Plan, look_at: Callable[..., Look]) -> None:
    """A new version's failure does not go on with the old one's hold."""
    alerts = LocalAlerts(plan)
    alerts.update(look_at(START + 1, Verdict.FAIL))
    assert alerts.update(look_at(START + 62, Verdict.FAIL, version="2")) == []


def test_retraining_is_due_by_whole_windows(plan: Plan, look_at: Callable[..., Look]) -> None:
    """However often a window is looked at, it counts once; the window in which watching began does not count."""
    alerts = LocalAlerts(plan)
    due = []
    for second in range(5, 200, 10):
        if "SextantRetrainDue" in _names(alerts.update(look_at(START + second, Verdict.FAIL))):
            due.append(second)
    assert min(due) == 125  # the first look after the second whole window's end


def test_windows_that_nobody_saw_take_their_places(plan: Plan, look_at: Callable[..., Look]) -> None:
    """One failure before hours of silence and one after them are not two of the last three windows."""
    alerts = LocalAlerts(plan)
    told = [alerts.update(look_at(START + second, Verdict.FAIL)) for second in (5, 65, 7205)]
    assert [_names(each) & {"SextantRetrainDue"} for each in told] == [set(), set(), set()]
    assert "SextantRetrainDue" in _names(alerts.update(look_at(START + 7265, Verdict.FAIL)))


def _burning(plan: Plan, story: Any) -> set[tuple[str, str]]:
    """Return rate and severity of each alert on the budget for answered requests that fires at a story's end."""
    rules = [rule for rule in compile_rules(plan) if isinstance(rule, BurnRule)]
    window = story.window(60.0, {span for rule in rules for span in rule.spans})
    look = Look(START, 60.0, [Judged(rule, rule.read(window)) for rule in rules])
    fired = [each["labels"] for each in LocalAlerts(plan).update(look)]
    return {(each["burn"], each["severity"]) for each in fired if each["objective"] == "answered"}


@pytest.mark.parametrize(
    ("before", "later", "fired"),
    [
        pytest.param(18, 18, {("2", "warning")}, id="seldom and for long"),
        pytest.param(0, 50, {("4", "critical")}, id="often and since a short while"),
        pytest.param(18, 80, {("2", "warning"), ("4", "critical")}, id="both"),
        pytest.param(0, 0, set(), id="never"),
    ],
)
def test_a_budget_that_burns_is_told_by_the_pair_of_windows_that_sees_it(
    before: float, later: float, fired: set[tuple[str, str]], make_plan: PlanMaker, healthy: Any
) -> None:
    """Whatever comes first in the plan: a slow burn wakes nobody, and a fast one does."""
    fast, slow = {"rate": 4, "long": "20m", "short": "5m", "pages": True}, {"rate": 2, "long": "1h", "short": "10m"}
    healthy.grows("sextant_requests_total", before, later, code="500")
    for burns in ([fast, slow], [slow, fast]):
        objectives = {"period": "100m", "answered": 0.98, "burns": burns}
        plan = make_plan(monitoring={"window": "1m", "min_rows": 200, "objectives": objectives})
        assert _burning(plan, healthy) == fired


def test_unknown_windows_call_for_no_retraining(plan: Plan, look_at: Callable[..., Look]) -> None:
    """Silence is no violation."""
    alerts = LocalAlerts(plan)
    told = [alerts.update(look_at(START + second, Verdict.UNKNOWN)) for second in range(5, 400, 60)]
    assert told == [[]] * len(told)


def test_a_webhook_of_alertmanager_can_read_what_is_told(plan: Plan, look_at: Callable[..., Look]) -> None:
    """The trigger's own reader takes firing and resolved alerts, with the times at which they began and ended."""
    alerts = LocalAlerts(plan)
    alerts.update(look_at(START + 1, Verdict.FAIL))
    firing = alerts.update(look_at(START + 65, Verdict.FAIL))
    ended = alerts.update(look_at(START + 70, Verdict.PASS))
    read = Notification.model_validate({"version": "4", "alerts": firing + ended})
    drift = [each for each in read.alerts if each.labels["alertname"] == "SextantInputDrift"]
    assert [each.firing for each in drift] == [True, False]
    assert (drift[0].started, drift[1].ended) == (START + 61, START + 70)
    assert drift[0].labels["criterion"] == DRIFT
    assert drift[0].labels["version"] == "1"
