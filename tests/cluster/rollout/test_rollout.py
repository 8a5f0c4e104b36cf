"""The rollout controller on a real API server, with real pods behind a real gateway, scraped by a real Prometheus.

Four InferenceServices are rolled out at the same time while clients ask them through the gateway and send the truth
afterwards: a good canary, a slow one, one that answers with errors, and one that is wrong. Two controllers compete, and
the one that acts is killed twice on the way.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.rollout.controllers import Outcome, roll_out, wait_for

from sextant_plan import drills
from sextant_plan.bundle import BundleSpec, read_bundle
from sextant_plan.ledger import LedgerWriter, Origin, read_run, verify_lines
from sextant_plan.types import DrillName
from sextant_plan.verdicts import Verdict
from sextant_serving.rollout.release import Release
from sextant_serving.rollout.state import Phase, RolloutState

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

KINDS = ("good", "slow", "erroring", "wrong")
REHEARSED = [{"mode": "dead-pod", "fallback": "another server is started", "recover_within": "60s"}]
SHORTLY = {"max_age": "1s", "grace_first_release": False}


def fault_of(kind: str, spec: BundleSpec) -> dict[str, Any]:
    """How each kind's canary differs from the version in service; each is another bundle."""
    rotated = [*spec.classes[1:], spec.classes[0]]
    faults: dict[str, dict[str, Any]] = {
        "good": {"serving": {"queue_rows": spec.serving.queue_rows + 1}},
        "slow": {"slow": 4000},
        "erroring": {"serving": {"deadline": 0.00001}, "slow": 100},  # no machine is done before the clock has moved
        "wrong": {"classes": rotated},
    }
    return faults[kind]


@pytest.fixture(scope="module")
def outcomes(workshop: Any, trained_bundle: Path) -> Iterator[dict[str, Outcome]]:
    """All four, rolled out side by side."""
    stable = workshop.changed_bundle(trained_bundle)
    spec = read_bundle(stable)
    releases: dict[str, Release] = {}
    with workshop.services(**dict.fromkeys(KINDS, stable)):
        for kind in KINDS:
            canary = workshop.changed_bundle(trained_bundle, **fault_of(kind, spec))
            release = workshop.release_of(kind, canary)
            releases[kind] = workshop.documents(kind).submit(release, f"pvc://bundles/{canary.name}")
        for kind in KINDS:
            wait_for(f"the canary of {kind}", partial(workshop.canary_ready, kind))
        loads = {kind: workshop.load_of(kind, stable) for kind in KINDS}
        kill_at = [("good", Phase.OBSERVING), ("good", Phase.PROMOTING)]
        yield roll_out(workshop, releases, loads, kill_at=kill_at)


def test_a_good_canary_is_promoted_without_a_failed_request(
    outcomes: dict[str, Outcome], workshop: Any, record_property: Any
) -> None:
    """Through two killed controllers: it ends as the only predictor, under its own name, and no request failed."""
    good = outcomes["good"]
    record_property("seconds", round(good.seconds))
    assert (good.state.phase, good.state.verdict) == (Phase.PROMOTED, Verdict.PASS), good.state.reason
    assert good.document["spec"]["predictor"]["name"] == "green"
    assert "canary" not in good.document["spec"]
    assert set(good.statuses) == {"200"}, good.statuses
    champion = workshop.registry.champion("good")
    assert champion is not None
    assert (champion.version, champion.sequence) == (good.release.version, 1)


@pytest.mark.parametrize(("kind", "criterion"), [("slow", "slow"), ("erroring", "errors"), ("wrong", "right")])
def test_a_bad_canary_is_rolled_back(
    outcomes: dict[str, Outcome], workshop: Any, record_property: Any, kind: str, criterion: str
) -> None:
    """By the criterion that it breaks; what failed is the erroring canary's own share, by its own answer."""
    bad = outcomes[kind]
    record_property("seconds", round(bad.seconds))
    assert (bad.state.phase, bad.state.verdict) == (Phase.ROLLED_BACK, Verdict.FAIL), bad.state.reason
    assert bad.state.reason.startswith(f"{criterion}: proved worse")
    assert bad.document["spec"]["predictor"]["name"] == "blue"
    assert "canary" not in bad.document["spec"]
    assert workshop.registry.champion(kind) is None
    assert set(bad.statuses) <= ({"200", "429", "504"} if kind == "erroring" else {"200"}), bad.statuses
    assert workshop.codes_of(kind, "blue") == {"200"}


def test_every_decision_is_written_down(outcomes: dict[str, Outcome], workshop: Any) -> None:
    """In the ledger with the evidence of each criterion, in MLflow on the version, and as events on the object."""
    for kind, outcome in outcomes.items():
        records = read_run(workshop.home / "runs" / outcome.release.run_id)["roll_out"]
        assert {record.criterion for record in records} >= {"errors", "slow", "right"}
        client = workshop.registry.store.client
        tags = client.get_model_version(kind, outcome.release.version).tags
        assert tags["sextant.rollout"].startswith(outcome.state.phase)
        events = json.loads(
            workshop.cluster.kubectl(
                "get", "events", "--field-selector", f"involvedObject.name={kind}", "-o", "json"
            ).stdout
        )
        reasons = {event["reason"] for event in events["items"]}
        assert {"RolloutShifting", "RolloutObserving"} <= reasons


def held_drill(workshop: Any, name: str) -> list[str]:
    """The ledger of a drill that passed just now."""
    with LedgerWriter(workshop.home / "drills" / name, "drill", "monitoring", Origin(name, "-", "-", "-")) as ledger:
        outcome = drills.Outcome(
            drill=DrillName.DEAD_POD, plan=name, profile="local", modes=[], fault="-", detected_by="-",
            detected_after=1.0, recovery="-", recovered_after=2.0, recover_within=60.0,
        )  # fmt: skip
        value = outcome.model_dump(mode="json")
        ledger.record("drill", requirement="-", risk="-", qa_method="-", verdict=outcome.verdict, value=value)
    return ledger.path.read_text().splitlines()


@dataclass(frozen=True)
class Refused:
    """Where a release stands that was not admitted, and its service's predictors."""

    state: RolloutState
    spec: dict[str, Any]


@pytest.fixture(scope="module")
def refused(outcomes: dict[str, Outcome], workshop: Any, trained_bundle: Path) -> dict[str, Refused]:
    """Two releases on services whose last canary is gone: one decided as a fail, one whose drill is too old."""
    failing, stale = (workshop.changed_bundle(trained_bundle, serving={"queue_rows": rows}) for rows in (77, 78))
    releases = {
        "wrong": workshop.release_of("wrong", failing, Verdict.FAIL),
        "slow": workshop.release_of("slow", stale, failure=REHEARSED, drills=SHORTLY),
    }
    drill = held_drill(workshop, "slow")
    ended = verify_lines((line.encode() for line in drill), "drill")[-1].time
    wait_for("the drill's age", lambda: time.time() > ended + 1)
    releases["slow"] = releases["slow"].model_copy(update={"drills": [drill]})
    for name, release in releases.items():
        workshop.documents(name).submit(release, f"pvc://bundles/{release.digest.removeprefix('sha256:')}")

    def all_ended() -> bool:
        return all(
            workshop.ended(name) and workshop.state_of(name).digest == releases[name].digest for name in releases
        )

    with workshop.controllers() as controllers:
        controllers.wait_for("the refusals", all_ended)
    return {
        name: Refused(workshop.state_of(name), workshop.cluster.get("inferenceservice", name)["spec"])
        for name in releases
    }


@pytest.mark.parametrize(
    ("name", "verdict", "reason"),
    [
        pytest.param("wrong", Verdict.FAIL, "the decision is fail", id="failed at the gate"),
        pytest.param(
            "slow", Verdict.UNKNOWN, "the last drill dead-pod is 0.0 d old, and counts for 1s", id="old drill"
        ),
    ],
)
def test_a_release_without_its_evidence_is_refused(
    refused: dict[str, Refused], name: str, verdict: Verdict, reason: str
) -> None:
    """The service keeps its predictor and the canary gets no weight; the reason stands on the object."""
    found = refused[name]
    assert (found.state.phase, found.state.verdict) == (Phase.REFUSED, verdict)
    assert found.state.reason.startswith(reason)
    assert found.spec["predictor"]["name"] == "blue"
    assert found.spec["canary"][0]["trafficPercent"] == 0


def test_an_abort_makes_room_for_the_next_release(refused: dict[str, Refused], workshop: Any) -> None:
    """By the annotation alone, as kubectl sets it: the canary of the refused release goes."""
    assert "canary" in refused["slow"].spec
    workshop.cluster.kubectl("annotate", "inferenceservice", "slow", "sextant.dev/abort=true", "--overwrite")
    with workshop.controllers() as controllers:
        controllers.wait_for("the canary's end", lambda: workshop.state_of("slow").phase is Phase.ROLLED_BACK)
    spec = workshop.cluster.get("inferenceservice", "slow")["spec"]
    assert "canary" not in spec
    assert spec["predictor"]["name"] == "blue"
