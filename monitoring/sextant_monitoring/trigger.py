"""From alerts to a retraining: which windows failed, whether the policy calls for one, and never the same one twice.

The state is a folder of files that are each written once, so that a service that is restarted, or two of them on one
volume, agree: a request is named by its plan, criterion and window, and whoever creates its file has claimed it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import ValidationError

from sextant_monitoring.launcher import (
    Launcher,
    Outcome,
    TimeWindow,
    WindowVerdict,
    is_retrain_due,
    request_id,
)
from sextant_monitoring.webhook import Notification, WebhookAlert
from sextant_plan.alerts import AlertKind
from sextant_plan.catalogue import Enforcement
from sextant_plan.errors import InfrastructureError
from sextant_plan.files import locked, write_atomically
from sextant_plan.loading import plan_hash
from sextant_plan.planning import Reopening, planning_reopened, reopen_planning
from sextant_plan.schema import Closed, Plan
from sextant_plan.verdicts import Verdict


class Request(Closed):
    """One retraining that was asked for, or with `wider` a change of architecture; `accepted` is Unix time."""

    schema_version: int = 1
    request_id: str
    plan_hash: str
    criterion: str
    window: tuple[float, float]
    accepted: float
    wider: bool = False


class Action(StrEnum):
    """What an alert led to."""

    STARTED = "started"
    KNOWN = "known"
    NOT_DUE = "not due"
    COOLING_DOWN = "cooling down"
    RUNNING = "running"
    CHANGING_ARCHITECTURE = "changing architecture"
    PLANNING_REOPENED = "planning reopened"
    IGNORED = "ignored"


@dataclass(frozen=True)
class Decision:
    """What was done about one alert, and why."""

    action: Action
    criterion: str
    reason: str
    request_id: str | None = None


class RequestBook:
    """The requests and failed windows of one plan below `folder`; every file is written whole and once."""

    def __init__(self, folder: Path) -> None:
        self._requests, self._windows = folder / "requests", folder / "windows"
        self._started = folder / "started"
        for path in (self._requests, self._windows, self._started):
            path.mkdir(parents=True, exist_ok=True)
        self.lock = folder / ".lock"

    def requests(self) -> list[Request]:
        """Return every request, the oldest first. Raises InfrastructureError for a file that is none."""
        found = []
        for path in self._requests.glob("*.json"):
            try:
                found.append(Request.model_validate_json(path.read_bytes()))
            except ValidationError as error:
                raise InfrastructureError(f"{path}: not a request of this version. Move the file away.") from error
        return sorted(found, key=lambda request: request.accepted)

    def claim(self, request: Request) -> bool:
        """Write a request; tell whether it is new."""
        path = self._requests / f"{request.request_id}.json"
        if path.exists():
            return False
        write_atomically(path, (request.model_dump_json(indent=1) + "\n").encode())
        return True

    def mark_started(self, identifier: str) -> None:
        """Note that the launcher has accepted a request."""
        (self._started / identifier).touch()

    def is_started(self, identifier: str) -> bool:
        """Tell whether the launcher has accepted a request."""
        return (self._started / identifier).exists()

    def note_failed(self, criterion: str, window: TimeWindow) -> None:
        """Write down that a criterion failed in a window."""
        text = json.dumps([window.start, window.end])
        write_atomically(self._windows / f"{criterion}@{window.end:.3f}.json", text.encode())

    def failed(self, criterion: str) -> Iterator[TimeWindow]:
        """Yield the windows in which a criterion failed."""
        for path in self._windows.glob(f"{criterion}@*.json"):
            yield TimeWindow(*json.loads(path.read_bytes()))


class Trigger:
    """The policy of one plan over a request book; `clock` gives Unix time."""

    def __init__(self, plan: Plan, home: Path, launcher: Launcher, *, clock: Callable[[], float] = time.time) -> None:
        self._plan, self._home, self._launcher, self._clock = plan, home, launcher, clock
        self._hash = plan_hash(plan)
        self._book = RequestBook(home / "trigger" / plan.name)

    def receive(self, notification: Notification) -> list[Decision]:
        """Act on each alert of a notification, one notification after the other. Raises what the launcher raises.

        After an error the same notification may be received again: what was started is not started twice.
        """
        with locked(self._book.lock):
            return [self._act(alert) for alert in notification.alerts]

    def _act(self, alert: WebhookAlert) -> Decision:
        criterion = alert.labels.get("criterion", "")
        if alert.labels.get("plan") != self._plan.name or criterion not in self._retraining:
            return Decision(Action.IGNORED, criterion, "no criterion of this plan that retrains")
        now, length = self._clock(), self._plan.monitoring.window
        latest = TimeWindow.ended_before(now, length)
        for window in self._failed_windows(alert, latest, now):
            self._book.note_failed(criterion, window)
        if not alert.firing:
            return Decision(Action.IGNORED, criterion, "the alert is resolved")
        return self._decide(criterion, latest)

    @property
    def _retraining(self) -> set[str]:
        return {each.id for each in self._plan.criteria if Enforcement.RETRAIN in each.enforce}

    def _failed_windows(self, alert: WebhookAlert, latest: TimeWindow, now: float) -> list[TimeWindow]:
        """Return the windows of the policy's span that an alert says have failed.

        A retrain alert was counted by Prometheus over whole windows, so it stands for as many as the policy asks
        for. Any other alert is about the windows at whose end it fired.
        """
        count, of_last = self._plan.monitoring.retrain.n_of_last
        length = latest.end - latest.start
        span = [TimeWindow(latest.start - back * length, latest.end - back * length) for back in range(of_last)]
        if alert.labels.get("alertname") == AlertKind.RETRAIN_DUE.alert:
            return span[:count] if alert.firing else []
        until = now if alert.firing else alert.ended
        return [window for window in span if alert.started <= window.end <= until]

    def _decide(self, criterion: str, latest: TimeWindow) -> Decision:
        policy, now = self._plan.monitoring.retrain, self._clock()
        identifier = request_id(self._hash, criterion, latest)
        mine = [request for request in self._book.requests() if request.plan_hash == self._hash]
        for request in mine:
            # One that was claimed and not started, because the launcher failed, comes before any other.
            if request.request_id == identifier or not self._book.is_started(request.request_id):
                return self._complete(request)
        outcomes = [self._launcher.outcome(request.request_id) for request in mine]
        if Outcome.RUNNING in outcomes:
            return Decision(Action.RUNNING, criterion, "a retraining of this plan is not over yet")
        if planning_reopened(self._home, self._hash) is not None or self._has_failed(
            policy.reopen_planning_after, outcomes
        ):
            return self._reopen(criterion, mine, outcomes, now)
        history = self._history(criterion, latest, policy.n_of_last[1])
        if not is_retrain_due(history, policy, last_start=None):
            return Decision(Action.NOT_DUE, criterion, f"not {policy.n_of_last[0]} of the last windows failed")
        last_start = mine[-1].accepted if mine else None
        if not is_retrain_due(history, policy, last_start=last_start):
            return Decision(Action.COOLING_DOWN, criterion, f"the last retraining is under {policy.cooldown:g} s old")
        request = Request(
            request_id=identifier,
            plan_hash=self._hash,
            criterion=criterion,
            window=(latest.start, latest.end),
            accepted=now,
            wider=self._has_failed(self._plan.monitoring.retrain.change_architecture_after, outcomes),
        )
        self._book.claim(request)
        return self._complete(request)

    def _complete(self, request: Request) -> Decision:
        """Start a claimed request unless the launcher has accepted it before."""
        identifier = request.request_id
        if self._book.is_started(identifier):
            return Decision(Action.KNOWN, request.criterion, "this window has its retraining", identifier)
        if request.wider:
            self._launcher.change_architecture(identifier)
            self._book.mark_started(identifier)
            return Decision(Action.CHANGING_ARCHITECTURE, request.criterion, "retraining does not mend it", identifier)
        self._launcher.start(identifier, TimeWindow(*request.window))
        self._book.mark_started(identifier)
        return Decision(Action.STARTED, request.criterion, "the policy calls for it", identifier)

    def _history(self, criterion: str, latest: TimeWindow, of_last: int) -> list[WindowVerdict]:
        """Return the policy's span; a window that nobody reported is unknown."""
        length, failed = latest.end - latest.start, set(self._book.failed(criterion))
        span = [TimeWindow(latest.start - back * length, latest.end - back * length) for back in range(of_last)]
        return [WindowVerdict(each, Verdict.FAIL if each in failed else Verdict.UNKNOWN) for each in span]

    @staticmethod
    def _has_failed(limit: int | None, outcomes: Sequence[Outcome]) -> bool:
        """Tell whether the last `limit` retrainings that ended by a verdict did not pass; never without a limit."""
        if limit is None:
            return False
        judged = [outcome for outcome in outcomes if outcome is not Outcome.BROKEN][-limit:]
        return len(judged) == limit and all(outcome is Outcome.NOT_PASSED for outcome in judged)

    def _reopen(self, criterion: str, requests: Sequence[Request], outcomes: Sequence[Outcome], now: float) -> Decision:
        failed = [
            request.request_id
            for request, outcome in zip(requests, outcomes, strict=True)
            if outcome is Outcome.NOT_PASSED
        ]
        reopening = Reopening(
            plan=self._plan.name, plan_hash=self._hash, criterion=criterion, requests=failed, time=now
        )
        reopen_planning(self._home, reopening)
        return Decision(
            Action.PLANNING_REOPENED, criterion, "retraining does not mend it; amend the plan: sextant amend PLAN"
        )
