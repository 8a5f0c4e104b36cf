"""Where a rollout's decision is written: the promotion ledger in MLflow, and the evidence ledger of the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sextant_plan.canary_criteria import canary_criteria
from sextant_plan.canary_evidence import judge_evidence
from sextant_plan.ledger import LedgerWriter
from sextant_plan.promotion import PromotionLost
from sextant_serving.registry import Registry
from sextant_serving.rollout.comparing import CRITERION, comparing_of
from sextant_serving.rollout.observing import measured
from sextant_serving.rollout.release import Release
from sextant_serving.rollout.state import Phase, RolloutState

Announce = Callable[[RolloutState, RolloutState], None]


@dataclass(frozen=True)
class RegistryJournal:
    """The journal of one release.

    `open_ledger` opens the next attempt of the roll-out's ledger. `follow_up` is called once the promotion is written,
    and may be called twice.
    """

    release: Release
    registry: Registry
    open_ledger: Callable[[], LedgerWriter]
    announce: Announce
    follow_up: Callable[[], None] = lambda: None

    def claim(self) -> str | None:
        """Write the promotion down; return why another one stands in its place, or None."""
        try:
            self.registry.promote(self.release.promotion())
        except PromotionLost as error:
            return str(error)
        self.follow_up()
        return None

    def conclude(self, state: RolloutState) -> None:
        """Write the evidence of each criterion and the decision as a new attempt, and the verdict to MLflow."""
        with self.open_ledger() as ledger:
            write_conclusion(ledger, self.release, state)
        self.registry.note_rollout(self.release.name, self.release.version, state.phase, state.reason)


def write_conclusion(ledger: LedgerWriter, release: Release, state: RolloutState) -> None:
    """Record a rollout that has come to its end."""
    for rule in canary_criteria(release.read_plan()):
        ledger.record(
            f"canary {rule.criterion.id}",
            requirement=rule.requirement,
            risk="a version that passed every gate does harm on real traffic",
            qa_method=f"anytime-valid test {rule.test} on counters by look, one error budget for the rollout",
            verdict=judge_evidence(rule, state.evidence_of(rule.criterion.id)),
            value=measured(rule, state),
            criterion=rule.criterion,
            artifacts={"evidence": ledger.artifacts.put_json(state.model_dump(mode="json"))},
            counts=state.phase is not Phase.REFUSED,
        )
    comparing = comparing_of(release.read_plan())
    if comparing is not None:
        verdict, said = comparing.verdict(state.worth)
        ledger.record(
            f"challenger's {CRITERION}",
            requirement=comparing.requirement,
            risk="a version that is no better for the business replaces one that is known",
            qa_method="confidence sequence F4 on units by their first label, worth by goal.economics",
            verdict=verdict,
            value=said,
            artifacts={"evidence": ledger.artifacts.put_json(state.model_dump(mode="json"))},
            counts=state.phase is not Phase.REFUSED,
        )
    ledger.record(
        "canary rollout",
        requirement="a version takes all traffic on proof, and goes back on harm",
        risk="a bad version reaches every user, or a good one is lost in a race",
        qa_method="weights by evidence; promotion and withdrawal in two steps; a write-once promotion record",
        verdict=state.verdict,
        value={"version": release.version, "digest": release.digest, "end": state.phase, "reason": state.reason},
    )
