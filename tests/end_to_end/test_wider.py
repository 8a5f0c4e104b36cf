"""From an alert to another architecture on this machine: what a retraining does not mend, a wider life cycle tries."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from sextant_monitoring.launcher import Outcome
from sextant_monitoring.trigger import Action, Decision, Trigger
from sextant_monitoring.webhook import Notification
from sextant_pipelines.launchers import LocalLauncher
from sextant_plan.ledger import read_run
from sextant_plan.loading import load_plan

POLICY = "min_rows: 50\n  retrain: {cooldown: 1s, change_architecture_after: 1, reopen_planning_after: 2}"
WIDER = "wider_candidates:\n    - {architecture: small-cnn, params: {width: 4}}\n  epochs: 8"
DUE = {"alertname": "SextantRetrainDue", "criterion": "input-drift"}


class Clock:
    """Unix time that runs, and that a test moves on besides."""

    moved = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return time.time() + self.moved


def _ask(trigger: Trigger, plan: str, now: float) -> Decision:
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    alert = {"status": "firing", "labels": {**DUE, "plan": plan}, "startsAt": started, "endsAt": "0001-01-01T00:00:00Z"}
    (decision,) = trigger.receive(Notification.model_validate({"version": "4", "alerts": [alert]}))
    return decision


def _ended(launcher: LocalLauncher, request: str | None) -> Outcome:
    assert request is not None
    pause = threading.Event()
    while (outcome := launcher.outcome(request)) is Outcome.RUNNING:
        pause.wait(0.2)
    return outcome


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_an_alert_after_a_retraining_in_vain_lets_wider_candidates_compete(workshop: Any) -> None:
    """The retraining stops, because no run has frozen this plan; the wider life cycle passes and is in service."""
    workshop.edit_plan("min_rows: 50", POLICY)
    workshop.edit_plan("epochs: 8", WIDER)
    plan = load_plan(workshop.plan)
    launcher, clock = LocalLauncher(workshop.plan, workshop.home), Clock()
    trigger = Trigger(plan, workshop.home, launcher, clock=clock)
    first = _ask(trigger, plan.name, clock())
    assert (first.action, _ended(launcher, first.request_id)) == (Action.STARTED, Outcome.NOT_PASSED)
    clock.moved += 2 * plan.monitoring.window
    second = _ask(trigger, plan.name, clock())
    assert (second.action, _ended(launcher, second.request_id)) == (Action.CHANGING_ARCHITECTURE, Outcome.PASSED)
    records = read_run(workshop.home / "runs" / str(second.request_id))["train"]
    (tried,) = [record.value for record in records if record.task == "search"]
    assert isinstance(tried, dict)
    assert (tried["trials"], tried["not_tried"]) == (2, [])
    active = json.loads((workshop.home / "active.json").read_bytes())
    assert Path(active["bundle"]).is_dir()
