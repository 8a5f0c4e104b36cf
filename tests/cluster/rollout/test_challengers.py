"""A/B and shadow by the controller: the challenger in the champion's own servers, judged by what answers are worth.

Three InferenceServices at once, each request of a unit of its own and labelled with the truth: a challenger that is
right where the champion is wrong, the other way round, and a better one that is shadowed first.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.rollout.controllers import Outcome, roll_out

from sextant_plan.bundle import read_bundle
from sextant_plan.ledger import read_run
from sextant_plan.verdicts import Verdict
from sextant_serving.rollout.release import Release
from sextant_serving.rollout.state import Phase

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1800)]

KINDS = {"better": "ab", "worse": "ab", "dark": "shadow"}
GOAL = {
    "business": "tell digits apart",
    "why_ml": "the rollout under test serves a model",
    "economics": {"value_per_correct": 1, "cost_per_error": 1, "predictions_per_day": 1000},
}


def policy(strategy: str) -> dict[str, Any]:
    comparison = {"gain_at_least": 0.1, "min_units": 60, "join_at_least": 0.2}
    return {
        "strategy": strategy, "steps": [50, 100], "interval": "3s", "min_looks": 1, "deadline": "9m",
        "comparison": comparison,
    }  # fmt: skip


@pytest.fixture(scope="module")
def outcomes(workshop: Any, trained_bundle: Path) -> Iterator[dict[str, Outcome]]:
    """All three, side by side."""
    right = workshop.changed_bundle(trained_bundle, serving={"queue_rows": 801})
    spec = read_bundle(right)
    rotated = [*spec.classes[1:], spec.classes[0]]
    wrong = workshop.changed_bundle(trained_bundle, serving={"queue_rows": 802}, classes=rotated)
    arms = {"better": (wrong, right), "worse": (right, wrong), "dark": (wrong, right)}
    releases: dict[str, Release] = {}
    with workshop.services(**{kind: champion for kind, (champion, _) in arms.items()}):
        for kind, (_, challenger) in arms.items():
            release = workshop.release_of(kind, challenger, rollout=policy(KINDS[kind]), goal=GOAL)
            releases[kind] = workshop.documents(kind).submit(release, f"pvc://challengers/{challenger.name}")
        loads = {kind: workshop.load_of(kind, right, predictors=("blue",)) for kind in arms}
        yield roll_out(workshop, releases, loads, kill_at=[("better", Phase.OBSERVING)])


@pytest.mark.parametrize("kind", ["better", "dark"])
def test_a_challenger_that_is_worth_more_becomes_the_champion(
    outcomes: dict[str, Outcome], workshop: Any, record_property: Any, kind: str
) -> None:
    """Its bundle is the predictor's own, nothing is left beside it, the promotion is written, no request failed."""
    found = outcomes[kind]
    record_property("seconds", round(found.seconds))
    assert (found.state.phase, found.state.verdict) == (Phase.PROMOTED, Verdict.PASS), found.state.reason
    predictor = found.document["spec"]["predictor"]
    assert predictor["name"] == "blue"
    assert predictor["model"]["storageUri"] == f"pvc://challengers/{found.release.digest.removeprefix('sha256:')}"
    assert predictor["model"]["args"] == ["--variant=blue"]
    assert "volumes" not in predictor
    assert set(found.statuses) == {"200"}, found.statuses
    champion = workshop.registry.champion(kind)
    assert champion is not None
    assert champion.version == found.release.version


def test_a_challenger_that_is_worth_less_is_taken_away(outcomes: dict[str, Outcome], workshop: Any) -> None:
    """On proof by the business metric; the champion's bundle stays, and no request failed."""
    found = outcomes["worse"]
    assert (found.state.phase, found.state.verdict) == (Phase.ROLLED_BACK, Verdict.FAIL), found.state.reason
    assert "proved" in found.state.reason
    predictor = found.document["spec"]["predictor"]
    assert found.release.digest.removeprefix("sha256:") not in predictor["model"]["storageUri"]
    assert predictor["model"]["args"] == ["--variant=blue"]
    assert set(found.statuses) == {"200"}, found.statuses
    assert workshop.registry.champion("worse") is None


def test_the_comparison_is_written_down(outcomes: dict[str, Outcome], workshop: Any) -> None:
    """In the ledger with its bounds and units, and in MLflow on the version."""
    for kind, found in outcomes.items():
        records = read_run(workshop.home / "runs" / found.release.run_id)["roll_out"]
        (worth,) = [record for record in records if record.task == "challenger's worth"]
        assert worth.verdict is (Verdict.FAIL if kind == "worse" else Verdict.PASS)
        assert "units" in str(worth.value)
        tags = workshop.registry.store.client.get_model_version(kind, found.release.version).tags
        assert tags["sextant.rollout"].startswith(found.state.phase)
