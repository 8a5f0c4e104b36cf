"""What is known of a rollout, as one JSON document: a controller that is killed goes on from it.

docs/adr/0012 says why each phase is one that may be entered twice.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from sextant_plan.acceptance import AcceptanceRecord
from sextant_plan.canary_evidence import Evidence
from sextant_plan.promotion import NotAdmitted
from sextant_plan.schema import Closed
from sextant_plan.unit_worth import UnitWorth
from sextant_plan.verdicts import Verdict


class Phase(StrEnum):
    """Where a rollout stands. Those of `TERMINAL` end it; HELD may be resumed."""

    ADMITTING = "admitting"
    STARTING = "starting"  # the canary's servers come up, at weight 0
    SHIFTING = "shifting"  # the weight is set, and the route does not carry it yet
    OBSERVING = "observing"
    ACCEPTING = "accepting"  # the evidence is there, the users' verdict is not
    PROMOTING = "promoting"  # weight 100 is set
    CLAIMING = "claiming"  # weight 100 is carried, and the promotion is being written down
    SWITCHING = "switching"  # the canary takes the stable version's place
    WITHDRAWING = "withdrawing"  # weight 0 is set
    REMOVING = "removing"  # the canary's servers go
    HOLDING = "holding"  # weight 0 is set, and the canary stays
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled-back"
    HELD = "held"
    REFUSED = "refused"


TERMINAL = frozenset({Phase.PROMOTED, Phase.ROLLED_BACK, Phase.HELD, Phase.REFUSED})


class Wishes(Closed):
    """What people ask of a rollout while it runs; `resumed_at` is Unix time."""

    paused: bool = False
    aborted: bool = False
    resumed_at: float = 0.0
    acceptance: AcceptanceRecord = AcceptanceRecord()


class RolloutState(Closed):
    """The whole state. Times are Unix seconds, `weight` is the percentage asked of the route.

    `counters` are the raw values at the last look by source and series; `looked` is None until the weight is carried
    and a first reading was taken. `carried_since` is when the route was first seen to carry the weight,
    `unavailable_since` when the canary was first seen away. `worth` is the comparison of A/B and shadow.
    """

    schema_version: Literal[1] = 1
    digest: str
    phase: Phase = Phase.ADMITTING
    reason: str = ""
    verdict: Verdict = Verdict.UNKNOWN
    step: int = 0
    weight: int = 0
    looks: int = 0
    looked: float | None = None
    began: float
    deadline: float
    paused_since: float | None = None
    ended: float | None = None
    carried_since: float | None = None
    unavailable_since: float | None = None
    evidence: dict[str, Evidence] = {}
    worth: UnitWorth = UnitWorth()
    counters: dict[str, dict[str, float]] = {}

    @property
    def terminal(self) -> bool:
        """Whether the rollout has come to an end."""
        return self.phase in TERMINAL

    def evidence_of(self, criterion: str) -> Evidence:
        """Return what was gathered of a criterion, by its id."""
        return self.evidence.get(criterion, Evidence())


def starts_anew(state: RolloutState | None, digest: str) -> bool:
    """Tell whether a release that is handed in again begins without what is left of its last rollout.

    It does after a refusal or an abort. Raises NotAdmitted if the last one proved harm: the bundle is the same.
    """
    if state is None or state.digest != digest or state.phase not in {Phase.REFUSED, Phase.ROLLED_BACK}:
        return False
    if state.phase is Phase.ROLLED_BACK and state.verdict is Verdict.FAIL:
        raise NotAdmitted(f"this bundle was rolled back ({state.reason})", "Make another version", verdict=Verdict.FAIL)
    return True
