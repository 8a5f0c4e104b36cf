"""How a version reaches all traffic."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from sextant_plan.schema.closed import Closed
from sextant_plan.types import Duration, Share


class Acceptance(Closed):
    """Users who try the canary before it takes all traffic: each rates each task from 1 to 5.

    A user is satisfied who gives every task at least `satisfied_from`; the lower bound of the satisfied users' share
    at `confidence` has to reach `satisfied_at_least`, and one of the owner's approvers has to sign.
    """

    users: list[str] = Field(min_length=1)
    tasks: list[str] = Field(min_length=1)
    satisfied_from: int = Field(default=4, ge=1, le=5)
    satisfied_at_least: Share = 0.5
    confidence: float = Field(default=0.8, gt=0.5, lt=1)


class Comparison(Closed):
    """What a challenger has to be worth: money of one answer, in the economics' currency, more than the champion's.

    Each unit (`data.entity`) counts once, by the mean worth of its answers. A challenger is better once the lower bound
    of the gain reaches `gain_at_least`, at `min_units` of its own or more; negative, it tolerates a loss.
    """

    gain_at_least: float = 0.0
    min_units: int = Field(default=1000, ge=1)
    join_at_least: Share = 0.5


class Rollout(Closed):
    """How a version takes over. A canary serves `steps` percent in turn, judged once in each `interval` (a look).

    A step is left after `min_looks` looks without proved harm; the last, 100, asks for proof of every canary criterion.
    `burstiness` is the correlation of bad events within a look as measured on the stable version: 0 if they come alone.
    """

    strategy: Literal["immediate", "canary", "ab", "shadow"] = "immediate"
    deadline: Duration = 4 * 3600.0
    steps: list[int] = [5, 25, 50, 100]
    interval: Duration = 60.0
    min_looks: int = Field(default=5, ge=1)
    burstiness: float = Field(default=0.0, ge=0, lt=1)
    acceptance: Acceptance | None = None
    comparison: Comparison | None = None

    @model_validator(mode="after")
    def _steps_rise_to_all_traffic(self) -> Rollout:
        if len(self.steps) < 2 or self.steps[0] < 1 or self.steps[-1] != 100 or sorted(set(self.steps)) != self.steps:
            raise ValueError("steps are at least two rising percentages of which the last is 100")
        return self

    @model_validator(mode="after")
    def _interval_takes_time(self) -> Rollout:
        if self.interval <= 0:
            raise ValueError("the interval between two looks is longer than nothing")
        return self
