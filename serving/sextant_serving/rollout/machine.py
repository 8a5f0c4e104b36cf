"""The rollout as a state machine over ports: each tick does one phase's act, looks whether it took, and saves.

An act comes before the save and may be repeated, so that a controller killed anywhere goes on where it was. Nothing
is kept in memory between two ticks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sextant_plan.schema import Plan
from sextant_plan.schema import Rollout as Policy
from sextant_plan.verdicts import Verdict
from sextant_serving.rollout.admission import Refusal
from sextant_serving.rollout.observing import Observer
from sextant_serving.rollout.ports import Counters, Journal, State, Traffic
from sextant_serving.rollout.state import Phase, RolloutState, Wishes

# In the others the promotion is written down, or the canary is on its way out already.
STOPPABLE = frozenset(
    {Phase.ADMITTING, Phase.STARTING, Phase.SHIFTING, Phase.OBSERVING, Phase.ACCEPTING, Phase.PROMOTING}
)
WITH_TRAFFIC = frozenset({Phase.SHIFTING, Phase.OBSERVING, Phase.ACCEPTING, Phase.PROMOTING})
WITH_CANARY_LEFT = frozenset({Phase.HELD, Phase.REFUSED})
# What belongs to one weight, and is forgotten when it changes.
NOT_YET_CARRIED: dict[str, Any] = {"carried_since": None, "looked": None, "counters": {}, "unavailable_since": None}


Admit = Callable[[], Refusal | None]


@dataclass(frozen=True)
class Ports:
    """The world, as the rollout meets it; `admit` checks the release's evidence."""

    admit: Admit
    traffic: Traffic
    counters: Counters
    state: State
    journal: Journal


class Rollout:
    """The rollout of the release with one digest; a state of another digest is of another release and is left behind.

    `settle` is for how many seconds a route must have carried a weight to be believed.
    """

    def __init__(self, digest: str, plan: Plan, ports: Ports, *, settle: float = 0.0) -> None:
        self.observer = Observer(plan, ports.counters)
        self._digest, self._policy, self._ports, self._settle = digest, plan.rollout, ports, settle

    def tick(self, now: float, wishes: Wishes) -> RolloutState:
        """Take at most one step at Unix time `now` and return where the rollout stands."""
        saved = self._ports.state.load()
        if saved is None or saved.digest != self._digest:
            before = RolloutState(digest=self._digest, began=now, deadline=now + self._policy.deadline)
        else:
            before = saved
        after = Tick(self._policy, self._ports, self.observer, self._settle, now, wishes).advance(before)
        if after != saved:
            self._ports.state.save(after)
            self._ports.journal.announce(before, after)
        return after


@dataclass(frozen=True)
class Tick:
    """One step, at one time, under the wishes of that time."""

    policy: Policy
    ports: Ports
    observer: Observer
    settle: float
    now: float
    wishes: Wishes

    def advance(self, state: RolloutState) -> RolloutState:
        """Return the state after at most one act."""
        if state.terminal:
            return self._after_the_end(state)
        state = self._with_pause(state)
        if state.phase in STOPPABLE:
            if self.wishes.aborted:
                return _withdrawn(state, Verdict.UNKNOWN, "aborted by request")
            if state.paused_since is None and self.now >= state.deadline:
                return _held(state, f"the deadline came while {state.phase}: {state.reason or 'no proof yet'}")
        if state.phase in WITH_TRAFFIC:
            state = self._with_availability(state)
            if state.unavailable_since is not None and self.now - state.unavailable_since >= self.policy.interval:
                return _held(state, "the canary's servers went away")
        phases: dict[Phase, Callable[[RolloutState], RolloutState]] = {
            Phase.ADMITTING: self._admit,
            Phase.STARTING: self._start,
            Phase.SHIFTING: self._shift,
            Phase.OBSERVING: self._observe,
            Phase.ACCEPTING: self._accept,
            Phase.PROMOTING: self._promote,
            Phase.CLAIMING: self._claim,
            Phase.SWITCHING: self._switch,
            Phase.WITHDRAWING: self._withdraw,
            Phase.REMOVING: self._remove,
            Phase.HOLDING: self._hold,
        }
        return phases[state.phase](state)

    # phases, in the order of a rollout that goes well

    def _admit(self, state: RolloutState) -> RolloutState:
        self.ports.traffic.set_weight(0)  # whatever weight the canary came with
        refusal = self.ports.admit()
        if refusal is None:
            return state.model_copy(update={"phase": Phase.STARTING})
        refused = state.model_copy(update={"verdict": refusal.verdict, "reason": f"{refusal.reason}. {refusal.remedy}"})
        return self._ended(refused, Phase.REFUSED)

    def _start(self, state: RolloutState) -> RolloutState:
        self.ports.traffic.set_weight(0)
        if not self.ports.traffic.canary_ready():
            return state.model_copy(update={"reason": "the canary is not ready"})
        if self.ports.traffic.carried_weight() != 0:
            return state.model_copy(update={"reason": "the route does not know the canary yet"})
        return self._to_step(state, 0)

    def _shift(self, state: RolloutState) -> RolloutState:
        state = self._with_route(state)
        return state.model_copy(update={"phase": Phase.OBSERVING}) if self._is_settled(state) else state

    def _observe(self, state: RolloutState) -> RolloutState:
        state = self._looked(state)
        if state.phase is not Phase.OBSERVING or self.wishes.paused or state.looks < self.policy.min_looks:
            return state
        if self.policy.steps[state.step + 1] < 100:
            return self._to_step(state, state.step + 1)
        if self.observer.open_criteria(state):
            return state
        if self.policy.acceptance is not None:
            return state.model_copy(update={"phase": Phase.ACCEPTING})
        return _promoting(state)

    def _accept(self, state: RolloutState) -> RolloutState:
        state = self._looked(state)
        if state.phase is not Phase.ACCEPTING:
            return state
        verdict, reason = self.observer.accepted(self.wishes.acceptance)
        if verdict is Verdict.FAIL:
            return _withdrawn(state, verdict, reason)
        if verdict is Verdict.PASS and not self.wishes.paused and not self.observer.open_criteria(state):
            return _promoting(state)
        return state.model_copy(update={"reason": reason})

    def _promote(self, state: RolloutState) -> RolloutState:
        state = self._with_route(state)
        ready = state.unavailable_since is None and self._is_settled(state)
        return state.model_copy(update={"phase": Phase.CLAIMING}) if ready else state

    def _claim(self, state: RolloutState) -> RolloutState:
        lost = self.ports.journal.claim()
        if lost is not None:
            return _withdrawn(state, Verdict.FAIL, lost)
        return state.model_copy(update={"phase": Phase.SWITCHING})

    def _switch(self, state: RolloutState) -> RolloutState:
        self.ports.traffic.replace_stable()
        return self._ended(state, Phase.PROMOTED) if self.ports.traffic.serves_alone("canary") else state

    # the ways back

    def _withdraw(self, state: RolloutState) -> RolloutState:
        state = self._with_route(state)
        return state.model_copy(update={"phase": Phase.REMOVING}) if self._is_settled(state) else state

    def _remove(self, state: RolloutState) -> RolloutState:
        self.ports.traffic.remove_canary()
        return self._ended(state, Phase.ROLLED_BACK) if self.ports.traffic.serves_alone("stable") else state

    def _hold(self, state: RolloutState) -> RolloutState:
        state = self._with_route(state)
        return self._ended(state, Phase.HELD) if self._is_settled(state) else state

    def _after_the_end(self, state: RolloutState) -> RolloutState:
        """Send the canary away that a held or refused rollout has left, or let a held one go on, its evidence kept."""
        if state.phase in WITH_CANARY_LEFT and self.wishes.aborted:
            return _withdrawn(state, Verdict.UNKNOWN, "aborted by request").model_copy(update={"ended": None})
        if state.phase is not Phase.HELD or self.wishes.resumed_at <= (state.ended or 0.0):
            return state
        again = {"phase": Phase.STARTING, "reason": "resumed", "ended": None, "paused_since": None}
        deadline = self.now + self.policy.deadline
        return state.model_copy(update={**NOT_YET_CARRIED, **again, "deadline": deadline})

    # what several phases do

    def _ended(self, state: RolloutState, phase: Phase) -> RolloutState:
        ended = state.model_copy(update={"phase": phase, "ended": self.now, "counters": {}})
        self.ports.journal.conclude(ended)
        return ended

    def _to_step(self, state: RolloutState, step: int) -> RolloutState:
        at = {"phase": Phase.SHIFTING, "step": step, "weight": self.policy.steps[step], "looks": 0, "reason": ""}
        return state.model_copy(update={**NOT_YET_CARRIED, **at})

    def _with_route(self, state: RolloutState) -> RolloutState:
        """Ask for the state's weight, and note since when the route carries it."""
        self.ports.traffic.set_weight(state.weight)
        if self.ports.traffic.carried_weight() != state.weight:
            return state.model_copy(update={"carried_since": None})
        return state if state.carried_since is not None else state.model_copy(update={"carried_since": self.now})

    def _is_settled(self, state: RolloutState) -> bool:
        return state.carried_since is not None and self.now - state.carried_since >= self.settle

    def _with_availability(self, state: RolloutState) -> RolloutState:
        if self.ports.traffic.canary_ready():
            return state.model_copy(update={"unavailable_since": None})
        since = self.now if state.unavailable_since is None else state.unavailable_since
        return state.model_copy(update={"unavailable_since": since})

    def _with_pause(self, state: RolloutState) -> RolloutState:
        """Note a pause, and put off the deadline by its length once it is over."""
        if self.wishes.paused:
            return state if state.paused_since is not None else state.model_copy(update={"paused_since": self.now})
        if state.paused_since is None:
            return state
        later = state.deadline + self.now - state.paused_since
        return state.model_copy(update={"paused_since": None, "deadline": later})

    def _looked(self, state: RolloutState) -> RolloutState:
        """Return the state after a look if one is due; withdrawn on proof of harm, shifting if the route has moved."""
        carried = self.ports.traffic.carried_weight()
        if carried != state.weight:
            reason = f"the route carries {'an unknown weight' if carried is None else f'{carried} %'}"
            return state.model_copy(update={**NOT_YET_CARRIED, "phase": Phase.SHIFTING, "reason": reason})
        state = self.observer.look(state, self.now)
        harm = self.observer.proved_harm(state)
        return state if harm is None else _withdrawn(state, Verdict.FAIL, harm)


def _promoting(state: RolloutState) -> RolloutState:
    decided = {"phase": Phase.PROMOTING, "weight": 100, "verdict": Verdict.PASS}
    return state.model_copy(update={**NOT_YET_CARRIED, **decided, "reason": "every canary criterion is proved"})


def _withdrawn(state: RolloutState, verdict: Verdict, reason: str) -> RolloutState:
    decided = {"phase": Phase.WITHDRAWING, "weight": 0, "verdict": verdict}
    return state.model_copy(update={**NOT_YET_CARRIED, **decided, "reason": reason})


def _held(state: RolloutState, reason: str) -> RolloutState:
    decided = {"phase": Phase.HOLDING, "weight": 0, "verdict": Verdict.UNKNOWN}
    return state.model_copy(update={**NOT_YET_CARRIED, **decided, "reason": reason})
