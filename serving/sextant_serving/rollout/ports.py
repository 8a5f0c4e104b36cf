"""What a rollout asks of the world: who carries traffic, what was counted, where the state lies, who is told.

Every act may be asked for twice, since a controller that was killed repeats its last one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from sextant_plan.window import Sample
from sextant_serving.rollout.state import RolloutState

Arm = Literal["stable", "canary"]


@dataclass(frozen=True)
class Reading:
    """The raw counters of one server process at one time.

    `source` names the process, so that a restart is another source where it can be told; `born` is its start as Unix
    time, None if that is not known.
    """

    source: str
    born: float | None
    samples: tuple[Sample, ...]


class Traffic(Protocol):
    """The route in front of both versions."""

    def canary_ready(self) -> bool:
        """Tell whether the canary's servers can take traffic."""

    def set_weight(self, percent: int) -> None:
        """Ask for this share of the requests to go to the canary."""

    def carried_weight(self) -> int | None:
        """Return the share that the route has taken on, None while it cannot be told."""

    def replace_stable(self) -> None:
        """Make the canary the stable version, and the only one."""

    def remove_canary(self) -> None:
        """Take the canary's servers away."""

    def serves_alone(self, arm: Arm) -> bool:
        """Tell whether the route knows no version but this one."""


class Counters(Protocol):
    """The servers' counters."""

    def read(self) -> dict[Arm, list[Reading]]:
        """Return the readings of both arms at one time. Raises InfrastructureError if they cannot be had."""


class State(Protocol):
    """Where the state is kept."""

    def load(self) -> RolloutState | None:
        """Return the state, None before the first save."""

    def save(self, state: RolloutState) -> None:
        """Keep the state. Raises StateMoved if another controller has saved since it was loaded."""


class Journal(Protocol):
    """Who has to know of the decision."""

    def claim(self) -> str | None:
        """Write the promotion down, once; return why another one stands in its place, or None."""

    def conclude(self, state: RolloutState) -> None:
        """Record how the rollout ended, and on what evidence."""

    def announce(self, before: RolloutState, after: RolloutState) -> None:
        """Tell whoever watches of a change of phase or weight; may be lost."""
