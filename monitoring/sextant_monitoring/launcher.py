"""When to retrain, and the one thing that monitoring asks of whatever starts the retraining."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol, Self

from sextant_plan.canonical import digest_of
from sextant_plan.errors import ExitCode, UsageError
from sextant_plan.schema import Retrain
from sextant_plan.verdicts import Verdict


@dataclass(frozen=True, order=True)
class TimeWindow:
    """A span of Unix time in seconds, `end` not included."""

    start: float
    end: float

    def __str__(self) -> str:
        """Write the window as an ISO 8601 interval in UTC, by which pipelines and people name it."""
        return "/".join(_moment(seconds) for seconds in (self.start, self.end))

    @property
    def middle(self) -> float:
        """Half-way between its ends: tells which of two spans it lies in whatever rounding did to their ends."""
        return (self.start + self.end) / 2

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an ISO 8601 interval `START/END`; a moment without an offset is UTC. Raises MalformedWindow."""
        start, _, end = text.partition("/")
        try:
            window = cls(*(_seconds(part) for part in (start, end)))
        except ValueError as error:
            raise MalformedWindow(text) from error
        if window.start >= window.end:
            raise MalformedWindow(text)
        return window

    @classmethod
    def ended_before(cls, moment: float, length: float) -> Self:
        """Return the last window that has ended by `moment`; windows end at whole multiples of `length` seconds."""
        end = moment // length * length
        return cls(end - length, end)


class MalformedWindow(UsageError):
    """A window that is not a span of time."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text!r} is no window. Write START/END, such as 2026-01-31T10:00:00Z/2026-01-31T11:00:00Z.")


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _seconds(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


@dataclass(frozen=True)
class WindowVerdict:
    """What the rule of one criterion said of one window."""

    window: TimeWindow
    verdict: Verdict


class Outcome(StrEnum):
    """How far a retraining came; `broken` is one that a machine or a server ended, which says nothing of the plan."""

    RUNNING = "running"
    PASSED = "passed"
    NOT_PASSED = "not passed"
    BROKEN = "broken"

    @classmethod
    def of(cls, code: ExitCode) -> Outcome:
        """Return the outcome of a run that ended with this exit code."""
        if code is ExitCode.OK:
            return cls.PASSED
        return cls.NOT_PASSED if code in {ExitCode.GATE_FAILED, ExitCode.GATE_UNKNOWN} else cls.BROKEN


class Launcher(Protocol):
    """Starts the retraining, or the change of architecture. A second call with the same `request_id` starts nothing."""

    def start(self, request_id: str, window: TimeWindow) -> None:
        """Start a retraining because of what was seen in `window`; returns once it is accepted."""

    def change_architecture(self, request_id: str) -> None:
        """Start a life cycle in which the plan's wider candidates compete as well; returns once it is accepted."""

    def outcome(self, request_id: str) -> Outcome:
        """Return how far the retraining of a request has come."""


def is_retrain_due(history: Sequence[WindowVerdict], policy: Retrain, *, last_start: float | None) -> bool:
    """Tell whether the last m windows call for retraining: n of them fail, the latest among them.

    The last m are those of time that end with the latest in `history`, as in Prometheus' subquery: a window that is
    unknown, or that nobody saw, takes a place and is no violation. Nothing is due until `policy.cooldown` seconds lie
    between `last_start`, when a retraining last began, and the end of the latest window. `history` may be in any order.
    """
    count, of_last = policy.n_of_last
    latest = max(history, key=lambda each: each.window, default=None)
    if latest is None or latest.verdict is not Verdict.FAIL:
        return False
    if last_start is not None and latest.window.end - last_start < policy.cooldown:
        return False
    span = _ending_with(latest.window, of_last)
    return sum(each.verdict is Verdict.FAIL and each.window.middle > span.start for each in history) >= count


def _ending_with(window: TimeWindow, count: int) -> TimeWindow:
    """Return the span of so many windows that follow each other and end with this one."""
    return TimeWindow(window.end - count * (window.end - window.start), window.end)


def request_id(plan_hash: str, criterion: str, window: TimeWindow) -> str:
    """Return the name of one request to retrain: the same for everyone who sees the same window fail."""
    digest = digest_of({"plan": plan_hash, "criterion": criterion, "start": window.start, "end": window.end})
    return f"retrain-{digest.removeprefix('sha256:')[:16]}"
