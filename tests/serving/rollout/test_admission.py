"""What a release must show before its canary meets traffic."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sextant_plan.canonical import digest_of
from sextant_plan.drills import Outcome
from sextant_plan.ledger import LedgerWriter, Origin
from sextant_plan.schema import Plan
from sextant_plan.sign_off import Signature, Subject
from sextant_plan.types import DrillName
from sextant_plan.verdicts import Verdict
from sextant_serving.rollout.admission import admit
from sextant_serving.rollout.release import Release

DIGEST = "sha256:" + "b" * 64
MakeRelease = Callable[..., Release]


@pytest.fixture
def make_release(tmp_path: Path, make_plan: Callable[..., Plan]) -> MakeRelease:
    """Make a release whose evidence is in order, but for what a test asks for."""

    def make(verdict: Verdict = Verdict.PASS, *, decided: str = DIGEST, plan_hash: str | None = None) -> Release:
        plan = make_plan().canonical() | {"sign_off": {"required": ["ada"]}}
        own = digest_of(plan)
        with LedgerWriter(tmp_path, "decide", "evaluation", Origin("run", plan_hash or own, "-", "-")) as ledger:
            ledger.record(
                "bundle decided on", requirement="-", risk="-", qa_method="-", verdict=verdict,
                value={"digest": decided},
            )  # fmt: skip
        lines = ledger.path.read_text().splitlines()
        release = Release(
            name="parcels",
            version="2",
            bundle_version="v",
            digest=DIGEST,
            bundle="-",
            feature_repo=None,
            run_id="run",
            plan=plan,
            plan_hash=own,
            decision=lines,
            sequence=1,
            replaces="1",
        )
        decision = release.records()[-1].id
        subject = Subject(
            run_id="run", verdict=verdict, decision=decision, plan_hash=own, bundle=DIGEST, ledgers={"l": "d"}
        )
        signed = [Signature(person="ada", subject=subject, time=1.0)]
        return release.model_copy(update={"subject": subject, "signatures": signed})

    return make


def bound(name: str, version: str) -> str | None:
    """A registry that binds this one version to the bundle."""
    return DIGEST if (name, version) == ("parcels", "2") else None


def test_sound_evidence_is_admitted(make_release: MakeRelease) -> None:
    """The release that every case below breaks is itself in order."""
    assert admit(make_release(), bound) is None


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.UNKNOWN])
def test_a_verdict_that_is_no_pass_is_the_refusals_own(make_release: MakeRelease, verdict: Verdict) -> None:
    """Fail stays fail and unknown stays unknown."""
    refusal = admit(make_release(verdict), bound)
    assert refusal is not None
    assert (refusal.verdict, refusal.reason) == (verdict, f"the decision is {verdict}")


Break = Callable[[Release], Release]


def with_(**changes: Any) -> Break:
    return lambda release: release.model_copy(update=changes)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        pytest.param(lambda r: with_(plan=r.plan | {"name": "other"})(r), "not the one of its hash", id="plan changed"),
        pytest.param(with_(name="other"), "another model's", id="other model"),
        pytest.param(lambda r: with_(decision=r.decision[1:])(r), "the decision is damaged", id="record removed"),
        pytest.param(lambda r: with_(decision=r.decision[:1])(r), "no finished decision", id="decision not finished"),
        pytest.param(with_(decision=[]), "no finished decision", id="no decision"),
        pytest.param(with_(version="3"), "version 3 is not bound", id="version not registered"),
        pytest.param(with_(digest="sha256:" + "e" * 64), "about another bundle", id="other bundle"),
        pytest.param(with_(signatures=[]), "the signature of ada", id="not signed"),
        pytest.param(with_(subject=None), "under another decision", id="signed something else"),
    ],
)
def test_each_gap_in_the_evidence_is_refused_by_name(make_release: MakeRelease, broken: Break, reason: str) -> None:
    """Nothing is taken on belief, and the verdict is unknown: a gap proves nothing."""
    refusal = admit(broken(make_release()), bound)
    assert refusal is not None
    assert reason in refusal.reason
    assert refusal.verdict is Verdict.UNKNOWN


def test_a_decision_by_another_plan_is_refused(make_release: MakeRelease) -> None:
    """Evidence for one plan cannot be used for another."""
    refusal = admit(make_release(plan_hash="sha256:" + "0" * 64), bound)
    assert refusal is not None
    assert refusal.reason == "the decision is by another plan"


def drilled(release: Release, tmp_path: Path, *, age: float | None) -> Release:
    """The release of a plan that asks for a drill no older than a day; the drill ended `age` seconds ago."""
    mode = {"mode": "dead-pod", "fallback": "-", "recover_within": "60s"}
    plan = Plan.model_validate(
        {**release.plan, "sign_off": None, "failure": [mode], "drills": {"max_age": "1d"}}
    ).canonical()
    with LedgerWriter(tmp_path / "again", "decide", "evaluation", Origin("run", digest_of(plan), "-", "-")) as ledger:
        ledger.record(
            "bundle decided on", requirement="-", risk="-", qa_method="-", verdict=Verdict.PASS,
            value={"digest": DIGEST},
        )  # fmt: skip
    changes: dict[str, Any] = {
        "plan": plan,
        "plan_hash": digest_of(plan),
        "decision": ledger.path.read_text().splitlines(),
    }
    if age is not None:
        with LedgerWriter(tmp_path / "drill", "drill", "monitoring", Origin("d", "-", "-", "-")) as ledger:
            outcome = Outcome(
                drill=DrillName.DEAD_POD, plan="parcels", profile="local", modes=[], fault="-", detected_by="-",
                detected_after=1.0, recovery="-", recovered_after=2.0, recover_within=60.0,
            )  # fmt: skip
            ledger.record(
                "drill", requirement="-", risk="-", qa_method="-", verdict=outcome.verdict,
                value=outcome.model_dump(mode="json"),
            )  # fmt: skip
        changes["drills"] = [ledger.path.read_text().splitlines()]
    return release.model_copy(update=changes)


@pytest.mark.parametrize(
    ("age", "reason"),
    [
        pytest.param(None, "the drill dead-pod was never held", id="never held"),
        pytest.param(10.0, None, id="young enough"),
        pytest.param(2 * 86400.0, "the last drill dead-pod is 2.0 d old", id="too old"),
    ],
)
def test_a_promotion_waits_for_the_drills_of_the_plan(
    make_release: MakeRelease, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age: float | None, reason: str | None
) -> None:
    """The age is judged when the release is admitted, not when it was made."""
    release = drilled(make_release(), tmp_path, age=age)
    now = time.time() + (age or 0.0)
    monkeypatch.setattr("sextant_serving.rollout.admission.time.time", lambda: now)
    refusal = admit(release, bound)
    assert (refusal is None) == (reason is None)
    assert refusal is None or (refusal.verdict is Verdict.UNKNOWN and refusal.reason.startswith(str(reason)))


def test_a_drill_whose_evidence_was_changed_is_refused(make_release: MakeRelease, tmp_path: Path) -> None:
    """Whoever writes the release cannot write a drill into it."""
    release = drilled(make_release(), tmp_path, age=1.0)
    changed = [line.replace('"detected_after":1', '"detected_after":0') for line in release.drills[0]]
    refusal = admit(release.model_copy(update={"drills": [changed]}), bound)
    assert refusal is not None
    assert refusal.reason.startswith("a drill's evidence is damaged")
