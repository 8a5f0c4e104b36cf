"""The trigger: windows that failed, one retraining each, cooldown, hopeless plans; and its HTTP service."""

from __future__ import annotations

import http.client
import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.alerting import alertmanager
from tests.programs import free_port

from sextant_monitoring.launcher import MalformedWindow, Outcome, TimeWindow
from sextant_monitoring.trigger import Action, Decision, Trigger
from sextant_monitoring.trigger_service import MOST_BYTES, TriggerServer
from sextant_monitoring.webhook import Notification
from sextant_plan.catalogue.trigger import TRIGGER
from sextant_plan.errors import InfrastructureError
from sextant_plan.loading import plan_hash
from sextant_plan.planning import planning_reopened
from sextant_plan.schema import Plan

PlanMaker = Callable[..., Plan]
WINDOW = 600.0
NOW = 1_800_000_000.0 // WINDOW * WINDOW + 60  # a minute into a window
DAY = 86400.0


WHOLE = TimeWindow(0.0, NOW)


class Recorder:
    """A launcher that keeps what it was asked for; `result` is every retraining's outcome."""

    def __init__(self) -> None:
        self.started: dict[str, TimeWindow] = {}
        self.calls = 0
        self.changed: list[str] = []
        self.result = Outcome.PASSED
        self.fault: Exception | None = None
        self.called = threading.Event()

    def start(self, request_id: str, window: TimeWindow) -> None:
        """Keep the request."""
        self.calls += 1
        if self.fault:
            raise self.fault
        self.started.setdefault(request_id, window)
        self.called.set()

    def change_architecture(self, request_id: str) -> None:
        """Keep the request as one that is about no window."""
        self.calls += 1
        self.started.setdefault(request_id, WHOLE)
        self.changed.append(request_id)

    def outcome(self, request_id: str) -> Outcome:
        """Return `result` for what was started."""
        return self.result if request_id in self.started else Outcome.BROKEN


class Clock:
    """Unix time that a test moves."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def plan(make_plan: PlanMaker) -> Plan:
    """A plan with windows of ten minutes that retrains at two of the last three, at most once a day."""
    retrain = {"n_of_last": [2, 3], "cooldown": "1d", "reopen_planning_after": 2}
    return make_plan(monitoring={"window": "10m", "min_rows": 200, "retrain": retrain})


@pytest.fixture
def launcher() -> Recorder:
    """A launcher that starts nothing."""
    return Recorder()


@pytest.fixture
def clock() -> Clock:
    """The trigger's clock."""
    return Clock()


@pytest.fixture
def trigger(plan: Plan, tmp_path: Path, launcher: Recorder, clock: Clock) -> Trigger:
    """A trigger with an empty book."""
    return Trigger(plan, tmp_path, launcher, clock=clock)


def _alert(name: str = "SextantRetrainDue", *, started: float = NOW, status: str = "firing", **more: str) -> Any:
    labels = {"alertname": name, "plan": "parcels", "criterion": "input-drift", **more}
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started))
    return {"status": status, "labels": labels, "startsAt": moment, "endsAt": "0001-01-01T00:00:00Z"}


def _post(trigger: Trigger, *alerts: dict[str, Any]) -> list[Decision]:
    return trigger.receive(Notification.model_validate({"version": "4", "alerts": list(alerts)}))


def _actions(trigger: Trigger, *alerts: dict[str, Any]) -> list[Action]:
    return [decision.action for decision in _post(trigger, *alerts)]


def test_a_retrain_alert_starts_the_retraining_of_the_last_window(trigger: Trigger, launcher: Recorder) -> None:
    """Prometheus has counted the windows; the request answers to the last whole one."""
    assert _actions(trigger, _alert()) == [Action.STARTED]
    end = NOW // WINDOW * WINDOW
    assert list(launcher.started.values()) == [TimeWindow(end - WINDOW, end)]


def test_the_same_window_is_retrained_once_whoever_asks(
    trigger: Trigger, plan: Plan, tmp_path: Path, launcher: Recorder, clock: Clock
) -> None:
    """A repeated notification, and a service that was restarted meanwhile, find the request that is there."""
    (first,) = _post(trigger, _alert())
    (second,) = _post(Trigger(plan, tmp_path, launcher, clock=clock), _alert())
    assert (first.action, second.action) == (Action.STARTED, Action.KNOWN)
    assert first.request_id == second.request_id
    assert launcher.calls == 1


def test_racing_services_start_one_retraining(plan: Plan, tmp_path: Path, launcher: Recorder, clock: Clock) -> None:
    """Eight services on one volume get the same alert at once."""
    services = [Trigger(plan, tmp_path, launcher, clock=clock) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        actions = list(pool.map(lambda service: _actions(service, _alert())[0], services))
    assert actions.count(Action.STARTED) == 1
    assert launcher.calls == 1


def test_the_cooldown_holds_and_ends(trigger: Trigger, launcher: Recorder, clock: Clock) -> None:
    """A later window within the day waits; one after it starts another retraining."""
    _post(trigger, _alert())
    clock.now += WINDOW
    assert _actions(trigger, _alert()) == [Action.COOLING_DOWN]
    clock.now += DAY
    assert _actions(trigger, _alert()) == [Action.STARTED]
    assert len(launcher.started) == 2


def test_nothing_is_started_beside_a_running_retraining(trigger: Trigger, launcher: Recorder, clock: Clock) -> None:
    """However long it takes, and whichever criterion asks."""
    _post(trigger, _alert())
    launcher.result = Outcome.RUNNING
    clock.now += 2 * DAY
    assert _actions(trigger, _alert(criterion="accuracy")) == [Action.RUNNING]


def test_an_alert_of_a_criterion_counts_the_windows_at_whose_end_it_fired(trigger: Trigger, clock: Clock) -> None:
    """One failed window is not two of three; when it still fires at the next end, it is."""
    started = NOW // WINDOW * WINDOW - 120
    assert _actions(trigger, _alert("SextantInputDrift", started=started)) == [Action.NOT_DUE]
    clock.now += WINDOW
    assert _actions(trigger, _alert("SextantInputDrift", started=started)) == [Action.STARTED]


def test_a_resolved_alert_starts_nothing_and_its_windows_count(trigger: Trigger, clock: Clock) -> None:
    """It fired at the last end and was resolved; firing again at the next end makes two of three."""
    end = NOW // WINDOW * WINDOW
    resolved = _alert("SextantInputDrift", started=end - 120, status="resolved")
    resolved["endsAt"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(end + 30))
    assert _actions(trigger, resolved) == [Action.IGNORED]
    clock.now += WINDOW
    assert _actions(trigger, _alert("SextantInputDrift", started=clock.now - 90)) == [Action.STARTED]


@pytest.mark.parametrize(
    "labels",
    [{"plan": "other"}, {"criterion": "latency"}, {"criterion": "no-such"}],
    ids=["another-plan", "alerts-only", "unknown"],
)
def test_other_alerts_are_ignored(trigger: Trigger, launcher: Recorder, labels: dict[str, Any]) -> None:
    """Only a criterion of this plan that is enforced by retrain starts anything."""
    assert _actions(trigger, _alert(**labels)) == [Action.IGNORED]
    assert launcher.calls == 0


def test_retrainings_that_do_not_pass_reopen_planning(
    trigger: Trigger, plan: Plan, tmp_path: Path, launcher: Recorder, clock: Clock
) -> None:
    """After two of them nothing is started any more, and the record names the plan and both requests."""
    launcher.result = Outcome.NOT_PASSED
    for _ in range(2):
        assert _actions(trigger, _alert()) == [Action.STARTED]
        clock.now += DAY + WINDOW
    assert _actions(trigger, _alert()) == [Action.PLANNING_REOPENED]
    record = planning_reopened(tmp_path, plan_hash(plan))
    assert record is not None
    assert sorted(record.requests) == sorted(launcher.started)
    launcher.result = Outcome.PASSED
    assert _actions(trigger, _alert()) == [Action.PLANNING_REOPENED]


def test_what_retraining_does_not_mend_changes_the_architecture_and_then_reopens_planning(
    make_plan: PlanMaker, tmp_path: Path, launcher: Recorder, clock: Clock
) -> None:
    """Retrain, then let the wider candidates compete, then revamp: each after so many attempts in vain."""
    retrain = {"n_of_last": [2, 3], "cooldown": "1d", "change_architecture_after": 2, "reopen_planning_after": 3}
    plan = make_plan(monitoring={"window": "10m", "retrain": retrain})
    trigger = Trigger(plan, tmp_path, launcher, clock=clock)
    launcher.result, taken = Outcome.NOT_PASSED, []
    for _ in range(4):
        taken += _actions(trigger, _alert())
        clock.now += DAY + WINDOW
    assert taken == [Action.STARTED, Action.STARTED, Action.CHANGING_ARCHITECTURE, Action.PLANNING_REOPENED]
    assert (launcher.calls, len(launcher.changed)) == (3, 1)


def test_a_retraining_that_passes_keeps_the_architecture(
    make_plan: PlanMaker, tmp_path: Path, launcher: Recorder, clock: Clock
) -> None:
    """Failures count in a row: one that passed begins the count anew."""
    retrain = {"n_of_last": [2, 3], "cooldown": "1d", "change_architecture_after": 1, "reopen_planning_after": 3}
    trigger = Trigger(make_plan(monitoring={"window": "10m", "retrain": retrain}), tmp_path, launcher, clock=clock)
    for _ in range(3):
        assert _actions(trigger, _alert()) == [Action.STARTED]
        clock.now += DAY + WINDOW
    assert launcher.changed == []


def test_an_amended_plan_starts_anew(
    *, trigger: Trigger, make_plan: PlanMaker, plan: Plan, tmp_path: Path, launcher: Recorder, clock: Clock
) -> None:
    """The record is about the old hash, so the amended plan retrains at once."""
    launcher.result = Outcome.NOT_PASSED
    for _ in range(3):
        _post(trigger, _alert())
        clock.now += DAY + WINDOW
    amended = make_plan(monitoring={**plan.monitoring.model_dump(), "min_rows": 300})
    assert _actions(Trigger(amended, tmp_path, launcher, clock=clock), _alert()) == [Action.STARTED]


def test_a_broken_machine_does_not_reopen_planning(trigger: Trigger, launcher: Recorder, clock: Clock) -> None:
    """A run that a server ended says nothing of the plan."""
    launcher.result = Outcome.BROKEN
    for _ in range(4):
        assert _actions(trigger, _alert()) == [Action.STARTED]
        clock.now += DAY + WINDOW


def test_a_launcher_that_failed_is_asked_again_for_the_same_request(
    trigger: Trigger, launcher: Recorder, clock: Clock
) -> None:
    """The claim stands, so the next notification completes it, also when the window has moved on."""
    launcher.fault = InfrastructureError("no backend")
    with pytest.raises(InfrastructureError):
        _post(trigger, _alert())
    launcher.fault = None
    clock.now += WINDOW
    (decision,) = _post(trigger, _alert())
    assert decision.action is Action.STARTED
    (window,) = launcher.started.values()
    assert window.end == NOW // WINDOW * WINDOW


@given(start=st.integers(0, 4_000_000_000), length=st.integers(1, 10_000_000))
def test_a_window_is_read_back_as_it_was_written(start: int, length: int) -> None:
    """The text is what pipelines take as their parameter."""
    window = TimeWindow(start, start + length)
    assert TimeWindow.parse(str(window)) == window


@pytest.mark.parametrize("text", ["", "2026-01-01", "2026-01-02/2026-01-01", "a/b", "2026-01-01/2026-01-01"])
def test_what_is_no_window_is_refused(text: str) -> None:
    """With an example of one."""
    with pytest.raises(MalformedWindow, match="2026-01-31T10"):
        TimeWindow.parse(text)


@pytest.fixture
def service(trigger: Trigger, tmp_path: Path) -> Iterator[TriggerServer]:
    """The HTTP service on a free port, with the token `secret`."""
    token = tmp_path / "token"
    token.write_text("secret\n")
    with TriggerServer(("127.0.0.1", 0), trigger, token) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _request(
    server: TriggerServer, body: bytes | None, *, path: str = "/alerts", **headers: str
) -> tuple[int, dict[str, Any]]:
    address = urlsplit(server.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)
    sent = {"Authorization": "Bearer secret", **{key.replace("_", "-"): value for key, value in headers.items()}}
    connection.request("POST", path, body, sent)
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    return response.status, answer


def test_the_service_takes_a_notification(service: TriggerServer, launcher: Recorder) -> None:
    """200 with what was decided, and the page counts it."""
    body = json.dumps({"version": "4", "receiver": "x", "alerts": [_alert()]}).encode()
    status, answer = _request(service, body)
    assert status == 200
    assert answer["decisions"][0]["action"] == "started"
    assert launcher.calls == 1
    with urllib.request.urlopen(f"{service.url}/metrics") as page:
        text = page.read().decode()
    assert 'sextant_trigger_decisions_total{action="started"} 1.0' in text
    shown = {line.split()[0].partition("{")[0] for line in text.splitlines() if not line.startswith("#")}
    assert {name for name in shown if not name.endswith("_created")} == set(TRIGGER)


@pytest.mark.parametrize(
    ("body", "headers", "path", "status"),
    [
        (b"{}", {"Authorization": "Bearer wrong"}, "/alerts", 401),
        (b"{}", {"Authorization": ""}, "/alerts", 401),
        (b"{}", {}, "/other", 404),
        (b"not json", {}, "/alerts", 400),
        (b'{"version": "3", "alerts": []}', {}, "/alerts", 400),
        (b"{}", {"Content_Length": str(MOST_BYTES + 1)}, "/alerts", 413),
        (b"{}", {"Content_Length": "-1"}, "/alerts", 411),
    ],
    ids=["wrong-token", "no-token", "path", "json", "version", "large", "length"],
)
def test_the_service_refuses(
    *, service: TriggerServer, launcher: Recorder, body: bytes, headers: dict[str, str], path: str, status: int
) -> None:
    """Each with its status and a sentence, and nothing is started."""
    found, answer = _request(service, body, path=path, **headers)
    assert found == status
    assert answer["error"]
    assert launcher.calls == 0


def test_an_answer_of_503_asks_for_the_notification_again(service: TriggerServer, launcher: Recorder) -> None:
    """What the launcher said stays in the log; the second try starts it."""
    body = json.dumps({"version": "4", "alerts": [_alert()]}).encode()
    launcher.fault = InfrastructureError("password of the backend")
    status, answer = _request(service, body)
    assert status == 503
    assert "password" not in answer["error"]
    launcher.fault = None
    assert _request(service, body)[0] == 200
    assert len(launcher.started) == 1


@pytest.mark.servers
def test_a_real_alertmanager_reaches_the_trigger(service: TriggerServer, launcher: Recorder, tmp_path: Path) -> None:
    """An alert that is posted to Alertmanager arrives as a webhook with the token, and starts one retraining."""
    hook = {
        "url": f"{service.url}/alerts",
        "send_resolved": False,
        "http_config": {"authorization": {"type": "Bearer", "credentials_file": str(tmp_path / "token")}},
    }
    route = {"receiver": "trigger", "group_wait": "0s", "group_interval": "1s", "repeat_interval": "1s"}
    config = {"route": route, "receivers": [{"name": "trigger", "webhook_configs": [hook]}]}
    (tmp_path / "alertmanager.yaml").write_text(json.dumps(config))
    port = free_port()
    with alertmanager(tmp_path, port):
        alert = [{"labels": _alert()["labels"], "annotations": {"summary": "due"}}]
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/v2/alerts", json.dumps(alert).encode(), {"Content-Type": "application/json"}
        )
        urllib.request.urlopen(request, timeout=30).close()
        assert launcher.called.wait(60), "the webhook did not arrive"
    assert len(launcher.started) == 1
