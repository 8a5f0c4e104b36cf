"""Every way through a rollout, in simulated time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sextant_plan.acceptance import AcceptanceRecord, Rating
from sextant_plan.schema import Plan
from sextant_plan.verdicts import Verdict
from sextant_serving.rollout.admission import Refusal
from sextant_serving.rollout.state import Phase, RolloutState, Wishes

MakePlan = Callable[..., Plan]
Drive = Callable[..., RolloutState]


def test_a_good_canary_takes_all_traffic_step_by_step(world: Any, drive: Drive) -> None:
    """Each weight in turn, every criterion proved, one promotion written, the stable version replaced last."""
    state = drive(world)
    assert (state.phase, state.verdict) == (Phase.PROMOTED, Verdict.PASS)
    assert world.weights == [5, 25, 50, 100]
    assert world.phases[-3:] == [Phase.CLAIMING, Phase.SWITCHING, Phase.PROMOTED]
    assert world.versions == ["canary"]
    assert world.claims == 1
    assert [ended.phase for ended in world.concluded] == [Phase.PROMOTED]


@pytest.mark.parametrize(
    ("harm", "criterion"),
    [
        pytest.param({"errors": 0.06}, "errors", id="errors"),
        pytest.param({"slow": 0.05}, "slow", id="latency"),
        pytest.param({"wrong": 0.5}, "right", id="accuracy"),
    ],
)
def test_a_bad_canary_is_rolled_back_by_the_criterion_that_it_breaks(
    world: Any, behaviour: Any, drive: Drive, harm: dict[str, float], criterion: str
) -> None:
    """Weight 0 first, then the canary goes; the reason names the criterion and what was counted."""
    world.behaviour["canary"] = behaviour(**harm)
    state = drive(world)
    assert (state.phase, state.verdict) == (Phase.ROLLED_BACK, Verdict.FAIL)
    assert state.reason.startswith(f"{criterion}: proved worse than")
    assert "in the canary" in state.reason
    assert world.weights[-1] == 0
    assert world.versions == ["stable"]
    assert world.claims == 0


SHIFT = {"id": "shift", "metric": "prediction_shift", "at_most": 0.2, "min_n": 200, "enforce": ["canary"]}


def test_a_canary_that_answers_otherwise_is_rolled_back_by_the_plans_limit(
    world: Any, behaviour: Any, drive: Drive, make_plan: MakePlan
) -> None:
    """Nine in ten answers with a class that stable gives to every second: 0.88 nats, where the plan allows 0.2."""
    plan = Plan.model_validate({**make_plan().model_dump(mode="json"), "criteria": [SHIFT]})
    world.rate, world.behaviour["canary"] = 200.0, behaviour(first=0.9)
    state = drive(world, plan)
    assert state.phase is Phase.ROLLED_BACK
    assert "shift: proved worse than a stability index of at most 0.2 nats" in state.reason
    assert set(state.evidence["shift"].tallies) == {5}


def test_a_canary_that_answers_alike_is_promoted(world: Any, drive: Drive, make_plan: MakePlan) -> None:
    """The rows of each weight stand by themselves."""
    world.rate = 200.0
    state = drive(world, Plan.model_validate({**make_plan().model_dump(mode="json"), "criteria": [SHIFT]}))
    assert state.phase is Phase.PROMOTED
    assert set(state.evidence["shift"].tallies) == {5, 25, 50}


def test_a_weight_counts_from_when_the_route_has_carried_it_for_a_while(world: Any, drive: Drive) -> None:
    """Looks begin neither while the route still moves nor before what it carries has settled, here for 4 seconds."""
    drive(world, until=lambda state: state.phase is Phase.SHIFTING, step=1.0)
    asked = world.now
    observing = drive(world, until=lambda state: state.phase is Phase.OBSERVING, step=1.0)
    assert observing.looked is None
    assert world.now - asked >= world.lag + 4.0


def test_silence_is_unknown(world: Any, drive: Drive) -> None:
    """No request in any look: no step is taken, the deadline takes the weight back and keeps the canary."""
    world.rate = 0.0
    state = drive(world)
    assert (state.phase, state.verdict) == (Phase.HELD, Verdict.UNKNOWN)
    assert world.weights == [5, 0]
    assert world.versions == ["stable", "canary"]
    assert "answered no request" in state.reason


def test_counters_that_cannot_be_read_are_unknown(world: Any, drive: Drive) -> None:
    """A metrics store that is away neither promotes nor rolls back; once it is back the rollout goes on."""
    world.reachable = False
    state = drive(world, until=lambda state: "no counters" in state.reason)
    assert state.phase is Phase.OBSERVING
    world.reachable = True
    assert drive(world).phase is Phase.PROMOTED


def test_a_held_rollout_keeps_its_evidence_when_it_is_resumed(world: Any, drive: Drive, make_plan: MakePlan) -> None:
    """Too little traffic to decide before the deadline; the rows counted until then count after it too."""
    plan = make_plan(deadline="10m")
    world.rate = 1.0
    held = drive(world, plan)
    assert held.phase is Phase.HELD
    seen = held.evidence["errors"].rows[0]
    assert seen > 0
    world.rate = 40.0
    ended = drive(world, plan, Wishes(resumed_at=world.now + 1))
    assert ended.phase is Phase.PROMOTED
    assert ended.evidence["errors"].rows[0] > seen


def test_a_refused_release_gets_no_traffic(world: Any, drive: Drive) -> None:
    """The reason is recorded and the weight is 0, whatever weight the canary came with."""
    world.asked.append((0.0, 30))
    world.refusal = Refusal(Verdict.FAIL, "the decision is fail", "Read the dossier")
    state = drive(world)
    assert (state.phase, state.verdict, state.reason) == (
        Phase.REFUSED,
        Verdict.FAIL,
        "the decision is fail. Read the dossier",
    )
    assert world.asked[-1][1] == 0
    assert world.concluded == [state]


def test_an_abort_sends_the_canary_of_a_refused_release_away(world: Any, drive: Drive) -> None:
    """It would stand in the way of the next release, which finds a canary there already."""
    world.refusal = Refusal(Verdict.UNKNOWN, "the plan requires a signature", "Have it signed")
    assert drive(world).phase is Phase.REFUSED
    assert world.versions == ["stable", "canary"]
    state = drive(world, wishes=Wishes(aborted=True))
    assert (state.phase, state.verdict) == (Phase.ROLLED_BACK, Verdict.UNKNOWN)
    assert world.versions == ["stable"]


def test_a_pause_holds_the_weight_and_puts_off_the_deadline(world: Any, drive: Drive, make_plan: MakePlan) -> None:
    """While paused, looks go on and steps do not, longer than the deadline is."""
    plan = make_plan(deadline="15m")
    drive(world, plan, until=lambda state: state.phase is Phase.OBSERVING)
    begun = world.now
    drive(world, plan, Wishes(paused=True), until=lambda state: world.now - begun > 1800)
    paused = world.load()
    assert (paused.phase, paused.weight) == (Phase.OBSERVING, 5)
    assert paused.looks > 30
    assert drive(world, plan).phase is Phase.PROMOTED


def test_a_paused_canary_that_does_harm_is_still_rolled_back(world: Any, behaviour: Any, drive: Drive) -> None:
    """A pause is no permission to go on hurting."""
    drive(world, until=lambda state: state.phase is Phase.OBSERVING)
    world.behaviour["canary"] = behaviour(errors=0.3)
    assert drive(world, wishes=Wishes(paused=True)).phase is Phase.ROLLED_BACK


def test_an_abort_goes_back_in_two_steps(world: Any, drive: Drive) -> None:
    """The verdict stays unknown, since nothing was proved."""
    drive(world, until=lambda state: state.weight == 25 and state.phase is Phase.OBSERVING)
    state = drive(world, wishes=Wishes(aborted=True))
    assert (state.phase, state.verdict) == (Phase.ROLLED_BACK, Verdict.UNKNOWN)
    assert world.phases[-3:] == [Phase.WITHDRAWING, Phase.REMOVING, Phase.ROLLED_BACK]


def test_a_canary_whose_servers_go_away_loses_its_traffic(world: Any, drive: Drive) -> None:
    """A crashed server counts no errors of its own, so its silence must not wait for the deadline."""
    drive(world, until=lambda state: state.weight == 25 and state.phase is Phase.OBSERVING)
    world.ready, begun = False, world.now
    state = drive(world)
    assert (state.phase, state.verdict) == (Phase.HELD, Verdict.UNKNOWN)
    assert state.reason == "the canary's servers went away"
    assert world.now - begun < 120


def test_a_canary_that_never_starts_gets_no_traffic(world: Any, drive: Drive) -> None:
    """The deadline ends the wait."""
    world.ready = False
    state = drive(world)
    assert state.phase is Phase.HELD
    assert world.weights == []
    assert "the canary is not ready" in state.reason


def test_a_route_that_somebody_moves_is_put_back(world: Any, drive: Drive) -> None:
    """What was counted at a foreign weight is not evidence."""
    drive(world, until=lambda state: state.looks == 1 and state.weight == 25)
    world.asked.append((0.0, 60))
    world.asked.sort(key=lambda each: each[0] == 0.0)
    moved = drive(world, until=lambda state: state.phase is Phase.SHIFTING)
    assert moved.reason == "the route carries 60 %"
    assert drive(world).phase is Phase.PROMOTED


def test_the_loser_of_a_promotion_is_taken_back(world: Any, drive: Drive) -> None:
    """Another version went live while this one was observed: the evidence was against the wrong champion."""
    world.rival = "parcels: another version is live"
    state = drive(world)
    assert (state.phase, state.reason) == (Phase.ROLLED_BACK, "parcels: another version is live")
    assert world.versions == ["stable"]


def _acceptance(stars: int, signed: str | None) -> Wishes:
    ratings = [Rating(user=user, task="label", stars=stars) for user in ("bo", "cy", "di")]
    return Wishes(acceptance=AcceptanceRecord(ratings=ratings, signed_by=signed))


def test_users_have_the_last_word(world: Any, drive: Drive, make_plan: MakePlan) -> None:
    """Evidence alone waits in a stage of its own; satisfied users are not enough without the signature."""
    plan = make_plan(acceptance={"users": ["bo", "cy", "di"], "tasks": ["label"]})
    waiting = drive(world, plan, until=lambda state: "not signed" in state.reason)
    assert waiting.phase is Phase.ACCEPTING
    begun = world.now
    drive(world, plan, _acceptance(5, None), until=lambda state: world.now - begun > 300)
    assert world.load().phase is Phase.ACCEPTING
    assert drive(world, plan, _acceptance(5, "ada")).phase is Phase.PROMOTED


def test_dissatisfied_users_roll_back(world: Any, drive: Drive, make_plan: MakePlan) -> None:
    """Three of three who cannot work with it prove it, signature or not."""
    plan = make_plan(acceptance={"users": ["bo", "cy", "di"], "tasks": ["label"]})
    drive(world, plan, until=lambda state: state.phase is Phase.ACCEPTING)
    state = drive(world, plan, _acceptance(1, "ada"))
    assert (state.phase, state.verdict) == (Phase.ROLLED_BACK, Verdict.FAIL)
    assert "0% of them satisfied" in state.reason


def test_a_new_release_starts_from_nothing(world: Any, drive: Drive) -> None:
    """The state of another digest is left behind with its evidence."""
    drive(world, until=lambda state: state.looks == 1)
    world.document = world.document.replace("c" * 64, "d" * 64)
    assert drive(world, until=lambda state: True).evidence == {}


ENDINGS = {
    "good": ({}, Phase.PROMOTED),
    "erroring": ({"errors": 0.06}, Phase.ROLLED_BACK),
}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kills=st.frozensets(st.integers(1, 140), max_size=12),
    ending=st.sampled_from(sorted(ENDINGS)),
)
def test_a_killed_controller_ends_where_an_unharmed_one_does(
    kills: frozenset[int], ending: str, new_world: Any, behaviour: Any, drive: Drive
) -> None:
    """Killed before or after any of its acts, any number of times: the same end, and never two promotions."""
    harm, expected = ENDINGS[ending]
    world = new_world(kill_at=kills)
    world.behaviour["canary"] = behaviour(**harm)
    state = drive(world)
    assert state.phase is expected
    assert world.versions == (["canary"] if expected is Phase.PROMOTED else ["stable"])
    assert world.claims == (1 if expected is Phase.PROMOTED else 0)


@pytest.mark.parametrize("ending", sorted(ENDINGS))
def test_a_controller_may_be_killed_around_every_act(ending: str, new_world: Any, behaviour: Any, drive: Drive) -> None:
    """Before and after each single act of the whole way, exhaustively."""
    harm, expected = ENDINGS[ending]
    world = new_world()
    world.behaviour["canary"] = behaviour(**harm)
    drive(world)
    for moment in range(1, world.moment + 1):
        killed = new_world(kill_at=frozenset({moment}))
        killed.behaviour["canary"] = behaviour(**harm)
        state = drive(killed)
        assert (state.phase, killed.claims) == (expected, world.claims), f"killed at {moment}"
