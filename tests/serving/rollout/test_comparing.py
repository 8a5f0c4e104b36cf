"""A challenger in simulated time, judged by what its units' answers are worth, and where it stands in the service."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from sextant_plan.errors import UsageError
from sextant_plan.schema import Economics, Plan
from sextant_plan.unit_worth import UnitWorth
from sextant_plan.verdicts import Verdict
from sextant_plan.window import Sample
from sextant_serving.rollout.comparing import ROWS
from sextant_serving.rollout.one_server import OneServerTraffic, challenger_patch, stored_challenger
from sextant_serving.rollout.ports import Arm
from sextant_serving.rollout.state import Phase, RolloutState

MakePlan = Callable[..., Plan]
Drive = Callable[..., RolloutState]
ECONOMICS = {"value_per_correct": 1, "cost_per_error": 1, "predictions_per_day": 100}
COMPARISON = {"gain_at_least": 0.0, "min_units": 200, "join_at_least": 0.1}


@pytest.fixture
def plan(make_plan: MakePlan) -> Plan:
    """The tests' plan as an A/B experiment that nothing but the worth judges."""
    document = make_plan(strategy="ab", steps=[50, 100], comparison=COMPARISON).model_dump(mode="json")
    document["goal"]["economics"] = ECONOMICS
    document["criteria"][0]["enforce"], document["criteria"] = ["gate"], document["criteria"][:1]
    return Plan.model_validate(document)


def tell_units(world: Any) -> None:
    """Let the world's servers count each labelled row as a unit's first label."""
    samples_of = world._samples

    def samples(arm: Arm) -> tuple[Sample, ...]:
        counts, labels = world.totals[arm], {"model": "parcels", "version": arm, "variant": arm}
        right, wrong = int(counts["labels"] - counts["wrong"]), int(counts["wrong"])
        return (
            *samples_of(arm),
            Sample(ROWS, labels, float(int(counts["requests"]))),
            Sample("sextant_units_total", {**labels, "outcome": "agree"}, right),
            Sample("sextant_units_total", {**labels, "outcome": "disagree"}, wrong),
        )

    world._samples = samples


@pytest.mark.parametrize(
    ("wrong", "end"),
    [
        pytest.param((0.3, 0.1), (Phase.PROMOTED, Verdict.PASS), id="worth more"),
        pytest.param((0.1, 0.3), (Phase.ROLLED_BACK, Verdict.FAIL), id="worth less"),
        pytest.param((0.1, 0.1), (Phase.HELD, Verdict.UNKNOWN), id="no difference"),
    ],
)
def test_what_units_are_worth_decides(  # noqa: PLR0917 - pytest passes fixtures by name
    world: Any, behaviour: Any, drive: Drive, plan: Plan, wrong: tuple[float, float], end: tuple[Phase, Verdict]
) -> None:
    """On either side by proof alone; two equal versions stay undecided and the champion stays."""
    world.behaviour = {"stable": behaviour(wrong=wrong[0]), "canary": behaviour(wrong=wrong[1])}
    tell_units(world)
    state = drive(world, plan)
    assert (state.phase, state.verdict) == end, state.reason
    assert state.worth.units[0] > 0
    if end[1] is Verdict.FAIL:
        assert state.reason.startswith("worth: proved to be less than asked for; gain of one answer between")


def test_servers_that_count_no_units_prove_nothing(world: Any, drive: Drive, plan: Plan) -> None:
    """Silence of the business metric is no gain."""
    state = drive(world, plan)
    assert (state.phase, state.verdict) == (Phase.HELD, Verdict.UNKNOWN)


def test_a_unit_that_several_processes_may_have_counted_proves_less() -> None:
    """With four processes a unit may be in the counts four times: the bounds are twice as wide."""
    units = ({"agree": 300, "disagree": 100}, {"agree": 200, "disagree": 200})
    economics = Economics.model_validate(ECONOMICS)
    one, four = (UnitWorth().grown(economics, units, (400, 400), (400, 400), processes=n) for n in (1, 4))
    widths = [each.bounds(0.05)[1] - each.bounds(0.05)[0] for each in (one, four)]
    assert widths[1] == pytest.approx(2 * widths[0])
    assert one.weighted_difference == four.weighted_difference


class Api:
    """An API server of one InferenceService and its pods, which take JSON patches; `roll` replaces the pods."""

    def __init__(self, predictor: dict[str, Any]) -> None:
        self.service: dict[str, Any] = {
            "spec": {"predictor": predictor},
            "status": {"conditions": [{"type": "PredictorReady", "status": "True"}]},
        }
        self.pods: list[dict[str, Any]] = []
        self.roll()

    def pod(self) -> dict[str, Any]:
        arguments = list(self.service["spec"]["predictor"]["model"]["args"])
        return {
            "metadata": {},
            "spec": {"containers": [{"name": "kserve-container", "args": arguments}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        }

    def roll(self) -> None:
        self.pods = [self.pod(), self.pod()]

    def get(self, path: str, **_: str) -> dict[str, Any]:
        return {"items": self.pods} if path.endswith("/pods") else copy.deepcopy(self.service)

    def patch(self, path: str, operations: Sequence[dict[str, Any]]) -> None:
        for operation in operations:
            *parents, last = operation["path"].strip("/").split("/")
            place = self.service
            for key in parents:
                place = place[key]
            if operation["op"] == "test":
                assert place[last] == operation["value"]
            elif operation["op"] == "remove":
                del place[last]
            else:
                place[last] = operation["value"]


@pytest.fixture
def api() -> Api:
    """A champion with a challenger beside it that has no traffic yet."""
    model = {"storageUri": "pvc://bundles/aa", "args": ["--variant=blue"]}
    api = Api({"name": "blue", "model": model})
    patch = challenger_patch(
        api.service["spec"]["predictor"], role="shadow", variant="green", storage_uri="pvc://challengers/bb"
    )
    api.patch("", patch)
    api.roll()
    return api


def traffic_of(api: Api) -> OneServerTraffic:
    arms: dict[Arm, str] = {"stable": "blue", "canary": "green"}
    return OneServerTraffic(api, "demo", "parcels", arms, "shadow", "sha256:bb")  # type: ignore[arg-type]


def test_a_share_is_carried_when_every_server_runs_with_it(api: Api) -> None:
    """One pod of the old share, or one that is about to go, keeps it unknown."""
    traffic = traffic_of(api)
    assert stored_challenger(api.service["spec"]["predictor"]) == "pvc://challengers/bb"
    assert (traffic.canary_ready(), traffic.carried_weight()) == (True, 0)
    traffic.set_weight(50)
    assert traffic.carried_weight() == 0
    api.pods[0] = api.pod()
    assert traffic.carried_weight() is None
    api.roll()
    assert traffic.carried_weight() == 50
    assert "--shadow=green=/mnt/challenger:50" in api.pods[0]["spec"]["containers"][0]["args"]
    api.pods[1]["metadata"]["deletionTimestamp"] = "now"
    assert traffic.carried_weight() is None


def test_servers_that_roll_for_a_new_share_have_not_gone_away(api: Api) -> None:
    """While a server of the new share starts, another one answers with the challenger; without any, it is away."""
    traffic = traffic_of(api)
    api.pods[0]["status"]["conditions"][0]["status"] = "False"
    assert (traffic.canary_ready(), traffic.carried_weight()) == (True, None)
    api.pods[1]["metadata"]["deletionTimestamp"] = "now"
    assert not traffic.canary_ready()


def test_a_shadow_answers_before_it_becomes_the_champion(api: Api) -> None:
    """At 100 it answers every unit; then its bundle is the predictor's own, and nothing else is left of it."""
    traffic = traffic_of(api)
    traffic.set_weight(100)
    assert "--challenger=green=/mnt/challenger:100" in api.service["spec"]["predictor"]["model"]["args"]
    api.roll()
    for _ in range(2):
        traffic.replace_stable()
    assert not traffic.serves_alone("canary"), "the old servers still answer"
    api.roll()
    assert traffic.serves_alone("canary")
    assert not traffic.serves_alone("stable")
    model = {"storageUri": "pvc://challengers/bb", "args": ["--variant=blue"]}
    assert api.service["spec"]["predictor"] == {"name": "blue", "model": model}


def test_a_challenger_that_goes_leaves_the_champion_as_it_was(api: Api) -> None:
    """The object is what it was before the challenger came."""
    traffic = traffic_of(api)
    for _ in range(2):
        traffic.remove_canary()
    api.roll()
    assert traffic.serves_alone("stable")
    model = {"storageUri": "pvc://bundles/aa", "args": ["--variant=blue"]}
    assert api.service["spec"]["predictor"] == {"name": "blue", "model": model}


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        pytest.param("s3://models/bb", r"needs pvc://CLAIM/FOLDER", id="object store"),
        pytest.param("pvc://bundles/bb", r"a pod cannot mount a claim twice", id="the champion's claim"),
    ],
)
def test_a_second_bundle_comes_by_a_claim_of_its_own(api: Api, uri: str, problem: str) -> None:
    """KServe fetches one bundle for a predictor, and a kubelet mounts a claim once."""
    with pytest.raises(UsageError, match=problem):
        challenger_patch(api.service["spec"]["predictor"], role="ab", variant="green", storage_uri=uri)
