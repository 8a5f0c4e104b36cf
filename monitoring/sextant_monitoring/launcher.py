"""When to retrain, and the one thing that monitoring asks of whatever starts the retraining."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sextant_plan.canonical import digest_of
from sextant_plan.schema import Retrain
from sextant_plan.verdicts import Verdict


@dataclass(frozen=True, order=True)
class TimeWindow:
    """A span of Unix time in seconds, `end` not included."""

    start: float
    end: float


@dataclass(frozen=True)
class WindowVerdict:
    """What the rule of one criterion said of one window."""

    window: TimeWindow
    verdict: Verdict


class Launcher(Protocol):
    """Starts the retraining. A second call with the same `request_id` starts nothing."""

    def start(self, request_id: str, window: TimeWindow) -> None:
        """Start a retraining because of what was seen in `window`; returns once it is accepted."""


def is_retrain_due(history: Sequence[WindowVerdict], policy: Retrain, *, last_start: float | None) -> bool:
    """Tell whether the last m windows call for retraining: n of them fail, the latest among them.

    An unknown window takes a place and is no violation. Nothing is due until `policy.cooldown` seconds lie
    between `last_start`, when a retraining last began, and the end of the latest window. `history` may be
    in any order.
    """
    count, of_last = policy.n_of_last
    recent = sorted(history, key=lambda each: each.window)[-of_last:]
    if not recent or recent[-1].verdict is not Verdict.FAIL:
        return False
    if last_start is not None and recent[-1].window.end - last_start < policy.cooldown:
        return False
    return sum(each.verdict is Verdict.FAIL for each in recent) >= count


def request_id(plan_hash: str, criterion: str, window: TimeWindow) -> str:
    """Return the name of one request to retrain: the same for everyone who sees the same window fail."""
    digest = digest_of({"plan": plan_hash, "criterion": criterion, "start": window.start, "end": window.end})
    return f"retrain-{digest.removeprefix('sha256:')[:16]}"
