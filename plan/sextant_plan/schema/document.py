"""The whole plan, with its failure modes, signatures and amendment."""

from __future__ import annotations

from datetime import date
from typing import Any

from pydantic import Field

from sextant_plan.schema.closed import Closed
from sextant_plan.schema.data import Data
from sextant_plan.schema.evaluation import Evaluation
from sextant_plan.schema.features import Features
from sextant_plan.schema.goal import Criterion, Goal, Owner
from sextant_plan.schema.model import Model
from sextant_plan.schema.monitoring import Monitoring
from sextant_plan.schema.rollout import Rollout
from sextant_plan.schema.serving import Serving
from sextant_plan.types import DrillName, Duration, Name


class FailureMode(Closed):
    """One way to fail; `drill` names what rehearses it, where its own name is not a drill's already."""

    mode: Name
    fallback: str
    recover_within: Duration
    alert: str | None = None
    drill: DrillName | None = None


class Drills(Closed):
    """Which rehearsals a promotion asks for: of every failure mode that a drill can stage, and of those in `also`.

    The last of each must have passed and be no older than `max_age`. A model's first release, of which nothing can be
    rehearsed in service yet, is let through with `grace_first_release`.
    """

    max_age: Duration
    grace_first_release: bool = True
    also: list[DrillName] = []


class SignOff(Closed):
    """Whose signatures a version needs before it is promoted: all of `required`, who are among owner.approvers."""

    required: list[str] = Field(min_length=1)


class Amendment(Closed):
    """Why this plan differs from the frozen one it replaces."""

    parent: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    author: str
    reason: str
    date: date


class Plan(Closed):
    """The whole plan as written in plan.yaml."""

    name: Name
    owner: Owner
    goal: Goal
    criteria: list[Criterion] = Field(min_length=1)
    data: Data
    features: Features | None = None
    model: Model
    evaluation: Evaluation = Evaluation()
    serving: Serving = Serving()
    rollout: Rollout = Rollout()
    monitoring: Monitoring = Monitoring()
    failure: list[FailureMode] = []
    drills: Drills | None = None
    sign_off: SignOff | None = None
    amends: Amendment | None = None

    @property
    def requested(self) -> list[str]:
        """The columns that come with a request: those that the model reads, then those only computed features read."""
        computed = self.features.on_demand if self.features else []
        return list(dict.fromkeys([*self.model.inputs.columns, *(name for each in computed for name in each.request)]))

    def canonical(self) -> dict[str, Any]:
        """Return the plan with defaults applied as JSON values; its digest is the plan's hash."""
        return self.model_dump(mode="json")
