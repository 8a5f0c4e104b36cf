"""The decision: only this run's evidence, about this bundle, under this wording of the criterion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sextant_components.evaluation.decide import run_decide
from sextant_components.evaluation.evaluation_records import record_subject
from sextant_components.evidence.gates import record_criterion, unavailable
from sextant_components.runs.context import RunContext, Step
from sextant_plan.bundle import read_bundle
from sextant_plan.catalogue import Enforcement
from sextant_plan.ledger import Record, read_run
from sextant_plan.verdicts import Estimate, Verdict

OpenRun = Callable[..., RunContext]
GOOD, BAD = Estimate(1.0, 1.0, 1.0, 100, 0.95), Estimate(0.0, 0.0, 0.0, 100, 0.95)


@pytest.fixture
def context(tmp_path: Path, open_run_at: OpenRun) -> RunContext:
    """A run without evidence, of the plan that the trained bundle was made by."""
    return open_run_at(tmp_path / "r1", home=tmp_path / "home")


def _evaluate(context: RunContext, bundle: Path, **answers: Any) -> None:
    """Write an evaluation in which every criterion is met, but for those in `answers` by their id."""
    with context.ledger(Step.EVALUATE) as ledger:
        record_subject(ledger, read_bundle(bundle))
        for criterion in context.plan.criteria:
            if criterion.definition.step == Step.EVALUATE:
                met = GOOD if criterion.at_least is not None else BAD
                record_criterion(ledger, criterion, answers.get(criterion.id, met))


def _decisions(context: RunContext) -> dict[str, Record]:
    return {record.criterion: record for record in read_run(context.run)["decide"] if record.criterion}


def test_every_gated_criterion_is_decided(context: RunContext, bundle: Path) -> None:
    """With evidence for all the decision is a pass; a criterion that is no gate is left to its own step."""
    _evaluate(context, bundle)
    assert run_decide(context, bundle=bundle) is Verdict.PASS
    gated = {criterion.id for criterion in context.plan.criteria if Enforcement.GATE in criterion.enforce}
    assert set(_decisions(context)) == gated


def test_no_evidence_is_unknown(context: RunContext, bundle: Path) -> None:
    """Nothing was measured, so nothing passes."""
    assert run_decide(context, bundle=bundle) is Verdict.UNKNOWN
    assert {record.verdict for record in _decisions(context).values()} == {Verdict.UNKNOWN}
    assert _decisions(context)["accuracy"].value == "no evidence"


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        pytest.param(BAD, Verdict.FAIL, id="fails"),
        pytest.param(unavailable("no rows"), Verdict.UNKNOWN, id="unknown"),
    ],
)
def test_one_criterion_that_does_not_pass_blocks(
    context: RunContext, bundle: Path, answer: Any, verdict: Verdict
) -> None:
    """The whole is as bad as its worst part."""
    _evaluate(context, bundle, accuracy=answer)
    assert run_decide(context, bundle=bundle) is verdict
    assert _decisions(context)["accuracy"].verdict is verdict
    assert _decisions(context)["errors"].verdict is Verdict.PASS


def test_evidence_about_another_wording_does_not_count(
    context: RunContext, bundle: Path, tmp_path: Path, open_run_at: OpenRun
) -> None:
    """A limit that was lowered after the measurement needs a measurement of its own."""
    looser = [c.model_copy(update={"at_least": 0.1}) if c.id == "accuracy" else c for c in context.plan.criteria]
    amended = RunContext(**{**vars(context), "plan": context.plan.model_copy(update={"criteria": looser})})
    _evaluate(context, bundle)
    assert run_decide(amended, bundle=bundle) is Verdict.UNKNOWN
    assert "another wording" in str(_decisions(context)["accuracy"].value)


def test_evidence_about_another_bundle_does_not_count(context: RunContext, bundle: Path, made: Any) -> None:
    """The evaluated bundle and the one to release differ in one description: nothing passes."""
    _evaluate(context, bundle)
    text = (bundle / "bundle.json").read_text()
    (bundle / "bundle.json").write_text(text.replace('"abstain_below": 0.0', '"abstain_below": 0.5'))
    assert read_bundle(bundle).digest != made.spec.digest
    assert run_decide(context, bundle=bundle) is Verdict.UNKNOWN
    assert _decisions(context)["accuracy"].value == "its evidence is about another bundle"


def test_a_bundle_of_another_plan_is_not_decided_on(bundle: Path, tmp_path: Path, open_run_at: OpenRun) -> None:
    """Evidence for the same criteria does not help a bundle that another plan made."""
    other = open_run_at(tmp_path / "r2", home=tmp_path / "home", serving={"latency_slo_ms": 50})
    _evaluate(other, bundle)
    assert run_decide(other, bundle=bundle) is Verdict.UNKNOWN


def test_a_step_that_died_blocks(context: RunContext, bundle: Path) -> None:
    """All criteria are met, and a step before them has no closing record."""
    with pytest.raises(KeyboardInterrupt), context.ledger(Step.TRAIN):
        raise KeyboardInterrupt
    _evaluate(context, bundle)
    assert run_decide(context, bundle=bundle) is Verdict.UNKNOWN


def test_a_second_evaluation_replaces_the_first(context: RunContext, bundle: Path) -> None:
    """After a resume the last finished attempt counts, for better or worse."""
    _evaluate(context, bundle, accuracy=BAD)
    _evaluate(context, bundle)
    assert run_decide(context, bundle=bundle) is Verdict.PASS
