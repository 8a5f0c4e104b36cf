"""What a release must show before its canary meets traffic."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sextant_plan.canonical import digest_of
from sextant_plan.ledger import LedgerWriter, Origin
from sextant_plan.schema import Plan
from sextant_plan.sign_off import Signature, Subject
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
