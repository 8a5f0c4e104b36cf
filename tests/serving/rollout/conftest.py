"""A rollout in simulated time: a route that lags, servers that count, and a controller to kill."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from sextant_plan.errors import InfrastructureError
from sextant_plan.schema import Plan
from sextant_plan.window import Sample
from sextant_serving.rollout.admission import Refusal
from sextant_serving.rollout.machine import Ports, Rollout
from sextant_serving.rollout.ports import Arm, Reading
from sextant_serving.rollout.state import Phase, RolloutState, Wishes

PLAN: dict[str, Any] = {
    "name": "parcels",
    "owner": {"team": "tests", "approvers": ["ada"]},
    "goal": {"business": "sort parcels", "why_ml": "no rule is known"},
    "criteria": [
        {"id": "errors", "metric": "error_rate", "at_most": 0.02, "min_n": 200, "enforce": ["canary"]},
        {"id": "slow", "metric": "latency_p99_ms", "at_most": 100, "min_n": 200, "enforce": ["canary"]},
        {"id": "right", "metric": "accuracy", "at_least": 0.8, "min_n": 50, "enforce": ["canary"]},
    ],
    "data": {
        "source": ".",
        "images": "images",
        "licence": {"name": "CC0-1.0", "source": "none", "allows_training": True},
        "consent": {"basis": "none"},
    },
    "model": {
        "task": "image-classification",
        "inputs": {"image": {"height": 8, "width": 8, "channels": 1}},
        "candidates": [{"architecture": "mlp"}],
    },
    "monitoring": {"labels": {"delay": "1s"}},
    "rollout": {"strategy": "canary", "interval": "30s", "min_looks": 2, "deadline": "2h"},
}


def plan_with(**rollout: Any) -> Plan:
    """The plan above, parts of its rollout changed."""
    return Plan.model_validate({**PLAN, "rollout": {**PLAN["rollout"], **rollout}})


class Killed(BaseException):
    """The controller's process ends here."""


@dataclass
class Behaviour:
    """How one version behaves: shares of failed, slow and wrong answers, and of answers with the first class."""

    errors: float = 0.002
    slow: float = 0.001
    wrong: float = 0.05
    first: float = 0.5


@dataclass
class World:
    """Everything outside of the controller; it is all of the ports at once, and `now` is its clock.

    The route takes `lag` seconds to carry a weight. `kill_at` ends the controller around the n-th act that it does on
    the world: odd numbers before the act, even ones after it.
    """

    behaviour: dict[Arm, Behaviour] = field(default_factory=lambda: {"stable": Behaviour(), "canary": Behaviour()})
    rate: float = 40.0
    lag: float = 20.0
    now: float = 1000.0
    kill_at: frozenset[int] = frozenset()
    ready: bool = True
    reachable: bool = True
    moment: int = 0
    asked: list[tuple[float, int]] = field(default_factory=lambda: [(0.0, 0)])
    versions: list[Arm] = field(default_factory=lambda: ["stable", "canary"])
    totals: dict[Arm, dict[str, float]] = field(default_factory=dict)
    document: str | None = None
    claims: int = 0
    rival: str | None = None
    refusal: Refusal | None = None
    concluded: list[RolloutState] = field(default_factory=list)
    phases: list[Phase] = field(default_factory=list)
    weights: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        for arm in ("stable", "canary"):
            self.totals[arm] = dict.fromkeys(("requests", "errors", "slow", "labels", "wrong", "first"), 0.0)

    def run(self, seconds: float) -> None:
        """Let time pass and requests come, each to the version that the route carries now."""
        self.now += seconds
        share = (self.carried_weight() or 0) / 100
        parts: dict[Arm, float] = {"canary": share, "stable": 1 - share}
        for arm, part in parts.items():
            behaviour, counts = self.behaviour[arm], self.totals[arm]
            n = self.rate * seconds * part
            for key, fraction in (
                ("requests", 1.0), ("errors", behaviour.errors), ("slow", behaviour.slow), ("labels", 0.2),
                ("wrong", 0.2 * behaviour.wrong), ("first", behaviour.first),
            ):  # fmt: skip
                counts[key] += n * fraction

    def _act(self, change: Callable[[], None]) -> None:
        for point in range(2):
            self.moment += 1
            if self.moment in self.kill_at:
                raise Killed
            if point == 0:
                change()

    # Traffic

    def canary_ready(self) -> bool:
        return self.ready

    def set_weight(self, percent: int) -> None:
        if self.asked[-1][1] != percent:
            self._act(lambda: self.asked.append((self.now, percent)))

    def carried_weight(self) -> int | None:
        return next(weight for since, weight in reversed(self.asked) if self.now - since >= self.lag or since == 0.0)

    def replace_stable(self) -> None:
        assert self.carried_weight() == 100, "the stable version went while the route still used it"
        self._act(lambda: setattr(self, "versions", ["canary"]))

    def remove_canary(self) -> None:
        assert self.carried_weight() == 0, "the canary went while the route still used it"
        self._act(lambda: setattr(self, "versions", ["stable"]))

    def serves_alone(self, arm: Arm) -> bool:
        return self.versions == [arm]

    # Counters

    def read(self) -> dict[Arm, list[Reading]]:
        if not self.reachable:
            raise InfrastructureError("nobody answers")
        return {arm: [Reading(arm, None, self._samples(arm))] for arm in ("stable", "canary")}

    def _samples(self, arm: Arm) -> tuple[Sample, ...]:
        whole = {key: float(int(value)) for key, value in self.totals[arm].items()}
        labels = {"model": "parcels", "version": arm, "variant": arm}

        def sample(name: str, value: float, **more: str) -> Sample:
            return Sample(name, {**labels, **more}, value)

        return (
            sample("sextant_requests_total", whole["requests"] - whole["errors"], code="200"),
            sample("sextant_requests_total", whole["errors"], code="500"),
            sample("sextant_request_seconds_count", whole["requests"]),
            sample("sextant_request_seconds_bucket", whole["requests"] - whole["slow"], le="0.1"),
            sample("sextant_predictions_total", whole["first"], **{"class": "box"}),
            sample("sextant_predictions_total", whole["requests"] - whole["first"], **{"class": "tube"}),
            sample("sextant_feedback_total", whole["labels"] - whole["wrong"], outcome="agree"),
            sample("sextant_feedback_total", whole["wrong"], outcome="disagree"),
        )

    # State

    def load(self) -> RolloutState | None:
        return RolloutState.model_validate_json(self.document) if self.document else None

    def save(self, state: RolloutState) -> None:
        text = state.model_dump_json()
        assert RolloutState.model_validate_json(text) == state
        self._act(lambda: setattr(self, "document", text))

    # Journal

    def claim(self) -> str | None:
        if self.rival is None:
            self._act(lambda: setattr(self, "claims", 1))
        return self.rival

    def conclude(self, state: RolloutState) -> None:
        self._act(lambda: self.concluded.append(state))

    def announce(self, before: RolloutState, after: RolloutState) -> None:
        if before.phase is not after.phase:
            self.phases.append(after.phase)
        if before.weight != after.weight:
            self.weights.append(after.weight)


Drive = Callable[..., RolloutState]


@pytest.fixture
def world() -> World:
    """A world with a good canary."""
    return World()


@pytest.fixture
def new_world() -> type[World]:
    """The class, for tests that need many worlds."""
    return World


@pytest.fixture
def behaviour() -> type[Behaviour]:
    """The class of how a version behaves."""
    return Behaviour


@pytest.fixture
def make_plan() -> Callable[..., Plan]:
    """Return the plan of these tests with parts of its rollout changed."""
    return plan_with


@pytest.fixture
def drive() -> Drive:
    """Tick until the rollout ends or `until` holds; a killed controller is started again."""

    def run(
        world: World,
        plan: Plan | None = None,
        wishes: Wishes | Callable[[RolloutState | None], Wishes] | None = None,
        *,
        until: Callable[[RolloutState], bool] = lambda state: state.terminal,
        step: float = 5.0,
        ticks: int = 6000,
    ) -> RolloutState:
        ports = Ports(lambda: world.refusal, world, world, world, world)
        for _ in range(ticks):
            world.run(step)
            asked = wishes(world.load()) if callable(wishes) else wishes or Wishes()
            try:
                state = Rollout("sha256:" + "c" * 64, plan or plan_with(), ports, settle=4.0).tick(world.now, asked)
            except Killed:
                continue
            if until(state):
                return state
        raise AssertionError(f"never ended: {json.loads(world.document or '{}')}")

    return run
