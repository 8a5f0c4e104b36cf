"""Every alert through a real Prometheus and a real Alertmanager, to mail, chat and trigger.

Prometheus begins with two hours of a story written into its database, so that windows of an hour are judged at once.
Only the holds (`for`) are taken out and the rules evaluated every second; every expression is the rendered one.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml
from tests.alerting import DEADLINE, Hooks, alertmanager, hurried, prometheus, wait_until
from tests.programs import free_port, program

from sextant_monitoring.alertmanager import alertmanager_config
from sextant_monitoring.board_serving import serving_board
from sextant_monitoring.boards import boards
from sextant_monitoring.preview import draw_board
from sextant_monitoring.rules_file import rule_groups
from sextant_plan.alerts import CRITERION_VERDICT, AlertKind, Severity
from sextant_plan.schema import Plan
from sextant_serving.rollout.state import Phase

pytestmark = pytest.mark.servers

PlanMaker = Callable[..., Plan]
POD = {"pod": "parcels-predictor-5d9", "container": "kserve-container"}
GPU = {"pod": "parcels-predictor-5d9", "gpu": "0"}
OBJECTIVES = {"period": "100m", "burns": [{"rate": 4, "long": "20m", "short": "5m", "pages": True}]}


class _Letters:
    """Keeps the mails that an SMTP server on this machine has taken."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.heard = threading.Condition()

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        import email.policy
        from email import message_from_bytes

        message = message_from_bytes(envelope.content, policy=email.policy.default)
        body = message.get_body(("plain",))
        assert body is not None
        with self.heard:
            self.texts.append(f"{message['Subject']}\n{body.get_content()}".replace("\r", ""))
            self.heard.notify_all()
        return "250 OK"


@pytest.fixture
def letters() -> Iterator[tuple[_Letters, int]]:
    """A real SMTP server and the port it listens on."""
    from aiosmtpd.controller import Controller

    kept, port = _Letters(), free_port()
    controller = Controller(kept, hostname="127.0.0.1", port=port)
    controller.start()
    yield kept, port
    controller.stop()


def _break_everything(story: Any) -> None:
    """Let every fault that one server can have begin at once."""
    story.grows("sextant_requests_total", 0, 1500, code="500")
    story.grows("sextant_requests_total", 3, 1500, code="400")
    for name in ("sextant_request_seconds", "sextant_queue_wait_seconds"):
        story.grows(f"{name}_bucket", 303, 200, le="0.05")
    story.grows("sextant_fallbacks_total", 4, 200, reason="low-confidence")
    story.grows("sextant_fallbacks_total", 0, 5, reason="feature-outage")
    for place, rate in enumerate((10, 290)):
        story.grows("sextant_feature_bin_total", 150, rate, feature="prediction", bin=str(place))
    for place, rate in enumerate((0, 100, 200)):
        story.grows("sextant_feature_bin_total", (75, 150, 75)[place], rate, feature="weight", bin=str(place))
    story.grows("sextant_feedback_total", 3, 90, outcome="disagree")
    story.grows("sextant_ratings_total", 10, 300, rating="1")
    story.grows("sextant_flawed_rows_total", 3, 90, flaw="missing")
    story.grows("sextant_device_seconds_sum", 20, 59)
    story.stands("sextant_label_join_ratio", 0.1)
    story.stands("sextant_prediction_bias_ratio", 0.3, **{"class": "b"})
    story.stands("sextant_probe_success", 0.5)
    story.stands("DCGM_FI_DEV_GPU_TEMP", 95, **GPU)
    story.stands("DCGM_FI_DEV_XID_ERRORS", 79, **GPU)
    labels = {"plan": "parcels", "criterion": "input-drift"}
    story.stands(CRITERION_VERDICT, -1, **labels)  # what the rules have recorded of the windows before


def _open_metrics(story: Any, end: float) -> Iterator[str]:
    """Yield the story in OpenMetrics with its times, the last minute being `end`."""
    for (name, labels), (rate, later) in story.counters.items():
        yield f"# TYPE {name} unknown"
        for minute in range(story.minutes + 1):
            value = rate * min(minute, story.since) + later * max(minute - story.since, 0)
            yield _line(name, labels, value, end - 60 * (story.minutes - minute))
    for (name, labels), (_, value) in story.gauges.items():
        yield f"# TYPE {name} unknown"
        for minute in range(story.minutes + 1):
            yield _line(name, labels, value, end - 60 * (story.minutes - minute))
    yield "# EOF"


def _line(name: str, labels: frozenset[tuple[str, str]], value: float, at: float) -> str:
    inner = ",".join(f'{key}="{text}"' for key, text in sorted(labels))
    return f"{name}{{{inner}}} {value!r} {at:.3f}"


@pytest.fixture
def plans(make_plan: PlanMaker, letters: tuple[_Letters, int], tmp_path: Path) -> Iterator[tuple[list[Plan], Hooks]]:
    """A plan whose server has every fault, one whose server is gone, and where their chat and trigger post."""
    with Hooks(letters[0].heard) as hooks:
        (tmp_path / "chat.url").write_text(f"{hooks.url}/chat")
        (tmp_path / "token").write_text("secret")
        notify = {
            "mail": {
                "to": ["shift@example.org"],
                "sender": "sextant@example.org",
                "relay": f"127.0.0.1:{letters[1]}",
                "require_tls": False,
            },
            "chat": {"url_file": str(tmp_path / "chat.url"), "channel": "#belt"},
            "trigger": {"url": f"{hooks.url}/trigger", "token_file": str(tmp_path / "token")},
        }
        monitoring = {"window": "4m", "min_rows": 200, "objectives": OBJECTIVES, "notify": notify}
        yield [make_plan(monitoring=monitoring), make_plan(name="letters", monitoring=monitoring)], hooks


def test_every_alert_reaches_whom_it_is_for(
    plans: tuple[list[Plan], Hooks], letters: tuple[_Letters, int], healthy: Any, promtool: str, tmp_path: Path
) -> None:
    """Pages go to mail and chat, tickets to mail, the order to retrain to the trigger with its token."""
    (broken, gone), hooks = plans
    _break_everything(healthy)
    now = time.time()
    day = 86400.0
    healthy.stands("sextant_model_created_timestamp_seconds", now - 90 * day)
    healthy.stands("sextant_feature_event_timestamp_seconds", now - 2 * day, view="measures")
    _write_past(healthy, promtool, tmp_path)
    alerts, metrics = free_port(), free_port()
    for plan in (broken, gone):
        (tmp_path / f"{plan.name}.rules.yaml").write_text(yaml.safe_dump(hurried(rule_groups(plan))))
    config = {
        "rule_files": ["*.rules.yaml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alerts}"]}]}]},
    }
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "alertmanager.yaml").write_text(yaml.safe_dump(_for_both(broken, gone)))
    with ExitStack() as stack:
        stack.enter_context(alertmanager(tmp_path, alerts))
        stack.enter_context(prometheus(tmp_path, metrics))
        wanted = {kind.alert for kind in AlertKind}
        with letters[0].heard:
            told = letters[0].heard.wait_for(lambda: wanted <= _told(letters[0], hooks), DEADLINE)
        assert told, wanted - _told(letters[0], hooks)
    mailed = "\n".join(letters[0].texts)
    assert "Runbook: docs/runbooks/errors-high.md" in mailed
    chatted = {post["attachments"][0]["text"].partition(":")[0] for path, _, post in hooks.posts if path == "/chat"}
    assert chatted == {"critical"}
    ordered = [(token, post) for path, token, post in hooks.posts if path == "/trigger"]
    assert {token for token, _ in ordered} == {"Bearer secret"}
    assert {alert["labels"]["severity"] for _, post in ordered for alert in post["alerts"]} == {"info"}


def test_every_query_of_every_board_finds_data(
    make_plan: PlanMaker, healthy: Any, promtool: str, tmp_path: Path
) -> None:
    """With everything at work no panel is empty; a query of a series that nobody exposes is found here."""
    plan = make_plan(monitoring={"window": "4m", "min_rows": 200, "objectives": OBJECTIVES})
    healthy.stands("sextant_rollout_weight_percent", 25, namespace="shop")
    healthy.stands("sextant_rollout_phase", 1, namespace="shop", phase=Phase.OBSERVING.value)
    for criterion, bound in product(("accuracy", "live", "night"), ("value", "low", "high")):
        healthy.stands("sextant_quality_ratio", 0.9, criterion=criterion, bound=bound)
    healthy.stands("sextant_expected_accuracy_ratio", 0.9)
    _write_past(healthy, promtool, tmp_path)
    (tmp_path / "parcels.rules.yaml").write_text(yaml.safe_dump(hurried(rule_groups(plan))))
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump({"rule_files": ["*.rules.yaml"]}))
    waiting = {query.expr for board in boards(plan) for panel in board.panels for query in panel.queries}
    assert len(waiting) > 70
    port = free_port()
    with prometheus(tmp_path, port) as server:
        client = f"http://127.0.0.1:{port}"
        wait_until(lambda: not waiting - {each for each in waiting if _has_data(client, each)}, server, lambda: waiting)
        draw_board(serving_board(plan), client, tmp_path / "serving.png", start=time.time() - 1800, end=time.time())
    assert (tmp_path / "serving.png").read_bytes().startswith(b"\x89PNG")


def _has_data(prometheus: str, expression: str) -> bool:
    query = urlencode({"query": expression.replace("$__rate_interval", "4m")})
    with urlopen(f"{prometheus}/api/v1/query?{query}", timeout=10) as response:
        return bool(json.load(response)["data"]["result"])


def _write_past(story: Any, promtool: str, folder: Path) -> None:
    """Write the story into a new database of Prometheus, its last minute being now."""
    (folder / "past.txt").write_text("\n".join(_open_metrics(story, time.time())) + "\n")
    blocks = [promtool, "tsdb", "create-blocks-from", "openmetrics", "past.txt", "data"]
    subprocess.run(blocks, check=True, cwd=folder, capture_output=True)


def _for_both(first: Plan, second: Plan) -> dict[str, Any]:
    """Return the configurations of two plans under one root, without the waits that spare a person."""
    config, more = alertmanager_config(first), alertmanager_config(second)
    config["route"]["routes"] += more["route"]["routes"]
    config["receivers"] += more["receivers"][1:]
    config["inhibit_rules"] = []  # so that each alert is seen on its own
    for route in config["route"]["routes"]:
        route |= {"group_wait": "1s", "group_interval": "1s"}
    return config


def _told(letters: _Letters, hooks: Hooks) -> set[str]:
    """Return the alerts that have reached anybody, known by their runbook or their label."""
    found = {
        alert["labels"]["alertname"] for path, _, post in hooks.posts if path == "/trigger" for alert in post["alerts"]
    }
    text = "\n".join(letters.texts)
    return found | {kind.alert for kind in AlertKind if f"Runbook: docs/runbooks/{kind}.md\n" in text}


def test_the_real_alertmanager_accepts_what_is_rendered(plans: tuple[list[Plan], Hooks], tmp_path: Path) -> None:
    """amtool finds nothing wrong, and each severity of the plan has its own receiver."""
    plan = plans[0][0]
    path = tmp_path / "alertmanager.yaml"
    path.write_text(yaml.safe_dump(alertmanager_config(plan)))
    for severity in Severity:
        labels = [f"plan={plan.name}", f"severity={severity}"]
        route = [program("amtool"), "config", "routes", "test", f"--config.file={path}", *labels]
        done = subprocess.run(route, check=True, capture_output=True, text=True)
        assert done.stdout.strip() == f"{plan.name}-{severity}"
