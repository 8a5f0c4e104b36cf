"""What a frozen plan binds: overrides in the decision, amendments at the start, signatures before the promotion."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sextant_components.deployment.register import run_register
from sextant_components.deployment.roll_out import run_roll_out
from sextant_components.deployment.sign_off import signing_subject, standing_of
from sextant_components.evaluation.decide import run_decide
from sextant_components.evaluation.evaluation_records import record_champion, record_subject
from sextant_components.evidence.gates import Settled, record_criterion
from sextant_components.runs.context import RunContext, Step
from sextant_components.runs.frozen_plans import last_frozen, record_amendment
from sextant_plan.bundle import read_bundle, seal_bundle
from sextant_plan.errors import BundleCorrupt, ExitCode
from sextant_plan.ledger import Record, criterion_hash, read_run
from sextant_plan.overrides import Override, write_override
from sextant_plan.promotion import NotAdmitted
from sextant_plan.sign_off import Signature, write_signature
from sextant_plan.verdicts import Verdict
from sextant_serving.home import served_model
from sextant_serving.registry import open_registry

OpenRun = Callable[..., RunContext]
ACCURACY = {"id": "accuracy", "metric": "accuracy", "at_least": 0.6, "min_n": 50}


def _evaluate(context: RunContext, bundle: Path, **verdicts: Verdict) -> Verdict:
    """Write an evaluation in which every criterion passes, but for those in `verdicts` by their id."""
    with context.ledger(Step.EVALUATE) as ledger:
        record_subject(ledger, read_bundle(bundle))
        record_champion(ledger, None)
        for criterion in context.plan.criteria:
            if criterion.definition.step == Step.EVALUATE:
                verdict = verdicts.get(criterion.id, Verdict.PASS)
                record_criterion(ledger, criterion, Settled(verdict, "settled by the test"))
        return ledger.verdict


def _override(context: RunContext, hours: float, criterion: str = "accuracy") -> None:
    (wanted,) = [each for each in context.plan.criteria if each.id == criterion]
    now = datetime.now(UTC)
    write_override(
        context.home,
        Override(
            plan_hash=context.plan_hash,
            criterion=criterion,
            criterion_hash=criterion_hash(wanted),
            person="maintainer",
            reason="the old one is worse",
            created=now - timedelta(days=1),
            expires=now + timedelta(hours=hours),
        ),
    )


def _decision(context: RunContext, criterion: str = "accuracy") -> Record:
    (found,) = [record for record in read_run(context.run)["decide"] if record.criterion == criterion]
    return found


def test_an_override_lets_a_failed_criterion_pass_and_says_so(tmp_path: Path, bundle: Path, open_run_at: Any) -> None:
    """The evidence keeps its verdict; the decision names person and expiry and holds the file."""
    context = open_run_at(tmp_path / "r1", home=tmp_path / "home")
    _override(context, hours=1)
    assert _evaluate(context, bundle, accuracy=Verdict.FAIL) is Verdict.PASS
    assert run_decide(context, bundle=bundle) is Verdict.PASS
    evidence = [record for record in read_run(context.run)["evaluate"] if record.criterion == "accuracy"]
    assert [record.verdict for record in evidence] == [Verdict.FAIL]
    decision = _decision(context)
    assert decision.verdict is Verdict.PASS
    assert decision.value["found"] == "fail"
    assert decision.value["override"].startswith("overridden by maintainer until ")
    assert b"the old one is worse" in context.artifacts.read_bytes(decision.artifacts["override"])


def test_an_override_covers_its_own_criterion_only(tmp_path: Path, bundle: Path, open_run_at: Any) -> None:
    """Another criterion that fails still blocks."""
    context = open_run_at(tmp_path / "r1", home=tmp_path / "home")
    _override(context, hours=1)
    assert _evaluate(context, bundle, corruptions=Verdict.FAIL) is Verdict.FAIL
    assert run_decide(context, bundle=bundle) is Verdict.FAIL


def test_an_expired_override_does_not_count(tmp_path: Path, bundle: Path, open_run_at: Any) -> None:
    """After its end the failure blocks again."""
    context = open_run_at(tmp_path / "r1", home=tmp_path / "home")
    _override(context, hours=-1)
    assert _evaluate(context, bundle, accuracy=Verdict.FAIL) is Verdict.FAIL
    assert run_decide(context, bundle=bundle) is Verdict.FAIL
    assert _decision(context).verdict is Verdict.FAIL


def _amendment(context: RunContext) -> Record | None:
    with context.ledger(Step.PLAN) as ledger:
        record_amendment(context, ledger)
    return next((record for record in read_run(context.run)["plan"] if record.task == "amendment"), None)


@pytest.fixture
def evaluated(tmp_path: Path, bundle: Path, open_run_at: OpenRun) -> RunContext:
    """A run in `tmp_path/home` whose results are known."""
    context = open_run_at(tmp_path / "home" / "runs", home=tmp_path / "home", criteria=[ACCURACY])
    _evaluate(context, bundle)
    return context


def test_changed_criteria_without_an_amendment_are_unknown(
    evaluated: RunContext, tmp_path: Path, open_run_at: OpenRun
) -> None:
    """A limit moved after the result is known blocks until somebody says why."""
    changed = open_run_at(tmp_path / "r2", home=tmp_path / "home", criteria=[{**ACCURACY, "at_least": 0.5}])
    record = _amendment(changed)
    assert record is not None
    assert (record.verdict, record.value["changed"]) == (Verdict.UNKNOWN, ["accuracy"])
    assert "sextant amend" in record.value["remedy"]
    frozen = last_frozen(evaluated.home, "bars")
    assert frozen is not None
    assert frozen.hash == evaluated.plan_hash


def test_a_plan_is_named_by_the_hash_that_its_evaluation_carries(
    tmp_path: Path, bundle: Path, open_run_at: OpenRun
) -> None:
    """A later version of the schema gives the old file another hash; the records keep the one that bound them."""
    old = open_run_at(tmp_path / "home" / "runs", home=tmp_path / "home", criteria=[ACCURACY])
    then = replace(old, plan_hash=f"sha256:{'7' * 64}")
    _evaluate(then, bundle)
    frozen = last_frozen(old.home, "bars")
    assert frozen is not None
    assert frozen.hash == then.plan_hash != old.plan_hash
    amends = {"parent": then.plan_hash, "author": "maintainer", "reason": "a new scale", "date": "2026-01-01"}
    criteria = [{**ACCURACY, "at_least": 0.5}]
    record = _amendment(open_run_at(tmp_path / "r2", home=old.home, criteria=criteria, amends=amends))
    assert record is not None
    assert record.verdict is Verdict.PASS


@pytest.mark.parametrize("named", [True, False], ids=["its parent", "another plan"])
def test_an_amendment_counts_for_the_plan_it_names(
    named: bool, evaluated: RunContext, tmp_path: Path, open_run_at: OpenRun
) -> None:
    """The parent is the plan that was evaluated last, and no other."""
    parent = evaluated.plan_hash if named else f"sha256:{'0' * 64}"
    amends = {"parent": parent, "author": "maintainer", "reason": "a new scale", "date": "2026-01-01"}
    criteria = [{**ACCURACY, "at_least": 0.5}]
    record = _amendment(open_run_at(tmp_path / "r2", home=tmp_path / "home", criteria=criteria, amends=amends))
    assert record is not None
    assert record.verdict is (Verdict.PASS if named else Verdict.UNKNOWN)


def test_other_parts_of_the_plan_may_change_freely(evaluated: RunContext, tmp_path: Path, open_run_at: OpenRun) -> None:
    """Nothing but the criteria is bound by the results."""
    other = open_run_at(tmp_path / "r2", home=evaluated.home, criteria=[ACCURACY], monitoring={"min_rows": 99})
    record = _amendment(other)
    assert record is not None
    assert (record.verdict, record.value["changed"]) == (Verdict.PASS, [])


def test_a_first_run_amends_nothing(tmp_path: Path, open_run_at: OpenRun) -> None:
    """Without results there is nothing to fit the criteria to."""
    assert _amendment(open_run_at(tmp_path / "r1", home=tmp_path / "home")) is None


@pytest.fixture
def unsigned(tmp_path: Path, home: Path, bundle: Path, open_run_at: OpenRun) -> RunContext:
    """A run that passed, registered its bundle and needs one signature; the bundle is sealed for its plan."""
    context = open_run_at(tmp_path / "r1", home=home, sign_off={"required": ["maintainer"]})
    seal_bundle(bundle, read_bundle(bundle).model_copy(update={"plan_hash": context.plan_hash}))
    _evaluate(context, bundle)
    assert run_decide(context, bundle=bundle) is Verdict.PASS
    run_register(context, bundle=bundle)
    return context


def _sign(context: RunContext) -> None:
    signature = Signature(person="maintainer", subject=signing_subject(context), time=time.time())
    write_signature(context.run, signature)


def test_promotion_waits_for_the_signature(unsigned: RunContext, bundle: Path) -> None:
    """Without it the rollout is refused as unknown with the way on; with it the version goes live."""
    with pytest.raises(NotAdmitted, match=r"signature of maintainer.*sextant sign .* sextant promote") as caught:
        run_roll_out(unsigned, bundle=bundle, version="1")
    assert caught.value.exit_code is ExitCode.GATE_UNKNOWN
    assert open_registry(unsigned.home).champion("bars") is None
    _sign(unsigned)
    assert run_roll_out(unsigned, bundle=bundle, version="1") is Verdict.PASS
    assert served_model(unsigned.home).digest == read_bundle(bundle).digest
    (record,) = [each for each in read_run(unsigned.run)["roll_out"] if each.task == "sign-off"]
    assert (record.verdict, record.value) == (Verdict.PASS, {"signed": ["maintainer"], "missing": []})
    kept = json.loads(unsigned.artifacts.read_bytes(record.artifacts["signature-maintainer.json"]))
    assert kept["subject"]["bundle"] == read_bundle(bundle).digest
    assert standing_of(unsigned).verdict is Verdict.PASS


def test_evidence_added_after_the_signature_voids_it(unsigned: RunContext, bundle: Path) -> None:
    """A second evaluation is not what was signed."""
    _sign(unsigned)
    assert standing_of(unsigned).verdict is Verdict.PASS
    _evaluate(unsigned, bundle)
    assert standing_of(unsigned).void == {"maintainer": ["ledger/evaluate-2.jsonl"]}
    with pytest.raises(NotAdmitted, match=r"maintainer's is void, since ledger/evaluate-2\.jsonl changed"):
        run_roll_out(unsigned, bundle=bundle, version="1")


def test_a_registered_bundle_that_was_changed_cannot_be_signed(unsigned: RunContext, bundle: Path) -> None:
    """What is signed is what lies in the store."""
    digest = read_bundle(bundle).digest.removeprefix("sha256:")
    (unsigned.home / "bundles" / "bars" / digest / "golden.npz").write_bytes(b"other")
    with pytest.raises(BundleCorrupt, match=r"golden\.npz"):
        _sign(unsigned)
