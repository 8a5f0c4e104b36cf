"""One look after the other: what was counted goes into the evidence, and the evidence says whether to go on."""

from __future__ import annotations

from sextant_plan.acceptance import AcceptanceRecord, judge_acceptance, satisfaction
from sextant_plan.canary_criteria import CanaryCriterion, canary_criteria
from sextant_plan.canary_evidence import Evidence, add_look, canary_value, judge_evidence, shift_is_proved
from sextant_plan.errors import InfrastructureError
from sextant_plan.schema import Plan
from sextant_plan.verdicts import Verdict
from sextant_plan.window import Window
from sextant_serving.rollout.comparing import CRITERION, comparing_of
from sextant_serving.rollout.increments import increments, look_of, requests, share_is_off, snapshot
from sextant_serving.rollout.ports import Arm, Counters
from sextant_serving.rollout.state import RolloutState

ARMS: tuple[Arm, Arm] = ("canary", "stable")


class Observer:
    """Judges a rollout by the plan's canary criteria."""

    def __init__(self, plan: Plan, counters: Counters) -> None:
        self.rules, self.comparing = canary_criteria(plan), comparing_of(plan)
        self._policy, self._counters = plan.rollout, counters

    def look(self, state: RolloutState, now: float) -> RolloutState:
        """Return the state after a look, unchanged if none is due; counters that cannot be read say nothing."""
        if state.looked is not None and now - state.looked < self._policy.interval:
            return state
        try:
            readings = self._counters.read()
        except InfrastructureError as error:
            return state.model_copy(update={"reason": f"no counters: {error}"})
        read = {"counters": snapshot(readings, state.counters), "looked": now}
        if state.looked is None:
            return state.model_copy(update={**read, "reason": ""})
        since = state.looked
        canary, stable = (increments(readings[arm], state.counters, since=since) for arm in ARMS)
        heard = requests(canary)
        if not heard:
            return state.model_copy(update={**read, "reason": "the canary answered no request"})
        # In one server the hash of the unit decides, so that a unit which asks often moves the share of the requests.
        if self.comparing is None and share_is_off(heard, requests(stable), state.weight):
            reason = f"{heard} of {heard + requests(stable)} requests came to the canary at weight {state.weight}"
            return state.model_copy(update={**read, "reason": reason})
        evidence = {rule.criterion.id: self._grown(rule, state, canary, stable) for rule in self.rules}
        worth = self.comparing.grown(state.worth, canary, stable, readings) if self.comparing else state.worth
        grown = {"looks": state.looks + 1, "evidence": evidence, "worth": worth, "reason": ""}
        return state.model_copy(update={**read, **grown})

    def proved_harm(self, state: RolloutState) -> str | None:
        """Return the first criterion whose violation is proved, in words, or None."""
        for rule in self.rules:
            if self.verdict(rule, state) is Verdict.FAIL:
                return f"{rule.criterion.id}: proved worse than {rule.requirement}; {measured(rule, state)}"
        if self.comparing is not None:
            verdict, said = self.comparing.verdict(state.worth)
            if verdict is Verdict.FAIL:
                return f"{CRITERION}: proved to be less than asked for; {said}"
        return None

    def open_criteria(self, state: RolloutState) -> list[str]:
        """Return the criteria that are not proved yet."""
        undecided = [rule.criterion.id for rule in self.rules if self.verdict(rule, state) is not Verdict.PASS]
        if self.comparing is not None and self.comparing.verdict(state.worth)[0] is not Verdict.PASS:
            undecided.append(CRITERION)
        return undecided

    def verdict(self, rule: CanaryCriterion, state: RolloutState) -> Verdict:
        """Return what the evidence so far says of one criterion."""
        return judge_evidence(rule, state.evidence_of(rule.criterion.id))

    def accepted(self, record: AcceptanceRecord) -> tuple[Verdict, str]:
        """Return the users' verdict and what it rests on, in words."""
        wanted = self._policy.acceptance
        assert wanted is not None
        verdict, estimate = judge_acceptance(wanted, record), satisfaction(wanted, record)
        rated = estimate.n if estimate else 0
        signed = f"signed by {record.signed_by}" if record.signed_by else "not signed"
        share = f", {estimate.value:.0%} of them satisfied" if estimate else ""
        return verdict, f"user acceptance: {rated} of {len(wanted.users)} users have rated{share}; {signed}"

    def _grown(self, rule: CanaryCriterion, state: RolloutState, canary: Window, stable: Window) -> Evidence:
        evidence = state.evidence_of(rule.criterion.id)
        look = look_of(rule, canary, stable, weight=state.weight)
        return evidence if look is None else add_look(rule, evidence, look, burstiness=self._policy.burstiness)


def measured(rule: CanaryCriterion, state: RolloutState) -> str:
    """Return what was counted of one criterion, in words."""
    evidence = state.evidence_of(rule.criterion.id)
    value = canary_value(rule, evidence)
    (canary, stable), (bad_canary, bad_stable) = evidence.rows, evidence.misses
    if rule.by is not None and value is not None:
        differs = "a difference is proved" if shift_is_proved(rule, evidence) else "no difference is proved"
        return f"{value:.4g} nats ({canary} rows in the canary, {stable} in the stable version; {differs})"
    counted = f"{bad_canary} of {canary} in the canary, {bad_stable} of {stable} in the stable version"
    return counted if value is None else f"{value:.4g} ({counted})"
