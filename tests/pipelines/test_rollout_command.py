"""What people can say to a rollout on this machine, and what they are told when there is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sextant_plan.canary_evidence import Evidence
from sextant_plan.canonical import digest_of
from sextant_plan.promotion import NotAdmitted
from sextant_plan.schema import Plan
from sextant_plan.verdicts import Verdict
from sextant_serving.rollout.files import RolloutFolder, rollout_folder
from sextant_serving.rollout.release import Release
from sextant_serving.rollout.state import Phase, RolloutState

Sextant = Callable[..., Any]
DIGEST = "sha256:" + "b" * 64
PLAN = Plan.model_validate(
    {
        "name": "parcels",
        "owner": {"team": "tests", "approvers": ["ada"]},
        "goal": {"business": "sort parcels", "why_ml": "no rule is known"},
        "criteria": [{"id": "errors", "metric": "error_rate", "at_most": 0.02, "enforce": ["canary"]}],
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
        "rollout": {"strategy": "canary", "acceptance": {"users": ["bo", "cy"], "tasks": ["print"]}},
    }
).canonical()


@pytest.fixture
def folder(tmp_path: Path) -> RolloutFolder:
    """The documents of a rollout that is half-way."""
    folder = rollout_folder(tmp_path, "parcels")
    folder.stage(
        Release(
            name="parcels",
            version="2",
            bundle_version="v",
            digest=DIGEST,
            bundle="-",
            feature_repo=None,
            run_id="run",
            plan=PLAN,
            plan_hash=digest_of(PLAN),
            decision=[],
            sequence=1,
            replaces="1",
        )
    )
    evidence = {"errors": Evidence(looks=3, rows=(150, 450), misses=(1, 2))}
    folder.save(
        RolloutState(
            digest=DIGEST, phase=Phase.OBSERVING, weight=25, looks=3, began=1.0, deadline=9e9, evidence=evidence
        )
    )
    return folder


def test_status_says_where_it_stands_and_why(folder: RolloutFolder, tmp_path: Path, sextant: Sextant) -> None:
    """Phase, weight and what was counted, as text and as JSON."""
    told = sextant("rollout", "status", "--home", tmp_path)
    assert told.code == 0
    assert "observing, weight 25 %, look 3" in told.out
    assert "errors: 0.006667 (1 of 150 in the canary, 2 of 450 in the stable version)" in told.out
    document = json.loads(sextant("rollout", "status", "--home", tmp_path, "--json").out)
    assert document["state"]["phase"] == "observing"


def test_pause_resume_and_abort_are_kept_for_the_controller(
    folder: RolloutFolder, tmp_path: Path, sextant: Sextant
) -> None:
    """Each changes its own wish and no other."""
    assert sextant("rollout", "pause", "--home", tmp_path).code == 0
    assert folder.wishes().paused
    assert sextant("rollout", "resume", "--home", tmp_path).code == 0
    assert not folder.wishes().paused
    assert folder.wishes().resumed_at > 0
    assert sextant("rollout", "abort", "--home", tmp_path).code == 0
    assert folder.wishes().aborted


def test_ratings_and_the_signature_add_up(folder: RolloutFolder, tmp_path: Path, sextant: Sextant) -> None:
    """Two users rate, an approver signs."""
    for user in ("bo", "cy"):
        rated = ("--user", user, "--task", "print", "--stars", "5")
        assert sextant("rollout", "accept", "--home", tmp_path, *rated).code == 0
    assert sextant("rollout", "accept", "--home", tmp_path, "--sign", "ada").code == 0
    record = folder.wishes().acceptance
    assert [rating.user for rating in record.ratings] == ["bo", "cy"]
    assert record.signed_by == "ada"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(("--user", "eve", "--task", "print", "--stars", "5"), "no user 'eve'", id="unknown user"),
        pytest.param(("--user", "bo", "--task", "drive", "--stars", "5"), "no task 'drive'", id="unknown task"),
        pytest.param(("--sign", "bo"), "none of owner.approvers", id="no approver"),
        pytest.param(("--user", "bo"), "Give --user, --task and --stars", id="half a rating"),
    ],
)
def test_a_rating_that_the_plan_does_not_know_is_refused(
    folder: RolloutFolder, tmp_path: Path, sextant: Sextant, arguments: tuple[str, ...], said: str
) -> None:
    """The error names the choices, and nothing is written down."""
    refused = sextant("rollout", "accept", "--home", tmp_path, *arguments)
    assert refused.code == 2
    assert said in refused.err
    assert folder.wishes().acceptance.ratings == []


def test_without_a_staged_canary_the_way_to_one_is_named(tmp_path: Path, sextant: Sextant) -> None:
    """A usage error, not a trace."""
    refused = sextant("rollout", "start", "--home", tmp_path)
    assert refused.code == 2
    assert "Run a plan with rollout.strategy: canary first" in refused.err


def test_a_new_release_forgets_what_was_asked_of_the_last(folder: RolloutFolder) -> None:
    """An abort is not passed on to the next version; the same release staged again keeps it."""
    folder.wish(lambda wishes: wishes.model_copy(update={"aborted": True}))
    release = folder.release()
    assert release is not None
    folder.stage(release)
    assert folder.wishes().aborted
    folder.stage(release.model_copy(update={"digest": "sha256:" + "c" * 64}))
    assert not folder.wishes().aborted


@pytest.mark.parametrize(
    ("phase", "verdict", "kept"),
    [
        pytest.param(Phase.REFUSED, Verdict.UNKNOWN, False, id="refused: it may be signed by now"),
        pytest.param(Phase.ROLLED_BACK, Verdict.UNKNOWN, False, id="aborted: another try"),
        pytest.param(Phase.HELD, Verdict.UNKNOWN, True, id="held: its evidence goes on counting"),
        pytest.param(Phase.PROMOTED, Verdict.PASS, True, id="promoted: nothing to do again"),
    ],
)
def test_a_release_handed_in_again_goes_on_or_starts_anew(
    folder: RolloutFolder, phase: Phase, verdict: Verdict, *, kept: bool
) -> None:
    """By how its last rollout ended."""
    state, release = folder.load(), folder.release()
    assert state is not None
    assert release is not None
    folder.save(state.model_copy(update={"phase": phase, "verdict": verdict}))
    folder.stage(release)
    assert (folder.load() is not None) is kept


def test_what_was_proved_harmful_is_not_tried_again(folder: RolloutFolder) -> None:
    """The same bundle would do the same harm."""
    state, release = folder.load(), folder.release()
    assert state is not None
    assert release is not None
    harm = {"phase": Phase.ROLLED_BACK, "verdict": Verdict.FAIL, "reason": "errors: proved worse"}
    folder.save(state.model_copy(update=harm))
    with pytest.raises(NotAdmitted, match=r"rolled back \(errors: proved worse\)"):
        folder.stage(release)


def test_a_rollout_that_has_ended_stays_so(folder: RolloutFolder, tmp_path: Path, sextant: Sextant) -> None:
    """Started again it says how it ended, with the same exit code, and starts no server."""
    state = folder.load()
    assert state is not None
    folder.save(state.model_copy(update={"phase": Phase.ROLLED_BACK, "verdict": Verdict.FAIL}))
    again = sextant("rollout", "start", "--home", tmp_path)
    assert again.code == 1
    assert "rolled-back" in again.out
