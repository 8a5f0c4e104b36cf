"""The experts' queue: who may speak, what keeps a version back, and that another bundle's queue begins anew."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from tests.components.trained import PLAN, Data, Made

from sextant_components.closing.dossier.crisp import task_results
from sextant_components.closing.dossier.facts import read_facts
from sextant_components.closing.dossier.page import render
from sextant_components.deployment.register import run_register
from sextant_components.deployment.roll_out import run_roll_out
from sextant_components.evaluation.decide import run_decide
from sextant_components.evaluation.evaluation_records import record_champion, record_errors, record_subject
from sextant_components.evaluation.expert_review import queue_of, record_reviews, require_reviews, review
from sextant_components.evaluation.number_records import record_residuals
from sextant_components.evidence.gates import Settled, record_criterion
from sextant_components.evidence.metrics import Answers
from sextant_components.evidence.number_metrics import NumberAnswers
from sextant_components.modelling.explanation import columns_left_out
from sextant_components.modelling.optimise import run_optimise
from sextant_components.modelling.tensors import Examples
from sextant_components.runs.context import RunContext, Step
from sextant_pipelines.commands.review import command
from sextant_plan.bundle import read_bundle, seal_bundle
from sextant_plan.errors import ExitCode, UsageError
from sextant_plan.ledger import LATER, ArtifactStore, read_run
from sextant_plan.promotion import NotAdmitted
from sextant_plan.verdicts import Verdict

OpenRun = Callable[..., RunContext]
EVALUATION = {"experts": {"reviewers": ["ann", "bob"], "errors": 2}}
ACCURACY = {"id": "accuracy", "metric": "accuracy", "at_least": 0.6, "min_n": 50}


@pytest.fixture
def context(bundle: Path, home: Path, open_run_at: OpenRun, tmp_path: Path) -> RunContext:
    """A run whose evaluation passed and found three confident errors: rows 4, 2 and 0, the surest first."""
    context = open_run_at(tmp_path / "r1", home=home, criteria=[ACCURACY], evaluation=EVALUATION)
    seal_bundle(bundle, read_bundle(bundle).model_copy(update={"plan_hash": context.plan_hash}))
    _evaluate(context, bundle)
    return context


def _evaluate(context: RunContext, bundle: Path) -> None:
    labels = np.zeros(6, dtype=np.int64)
    probabilities = np.tile(np.asarray([[0.8, 0.1, 0.1]], dtype=np.float32), (6, 1))
    for row, sure in ((0, 0.6), (2, 0.7), (4, 0.9)):
        probabilities[row] = [(1 - sure) / 2, sure, (1 - sure) / 2]
    with context.ledger(Step.EVALUATE) as ledger:
        record_subject(ledger, read_bundle(bundle))
        record_champion(ledger, None)
        record_criterion(ledger, context.plan.criteria[0], Settled(Verdict.PASS, "settled by the test"))
        examples = Examples(list(range(6)), {}, labels)
        record_errors(ledger, Answers(probabilities, labels), examples, ["cross", "flat", "tall"])


def test_a_version_waits_until_every_error_was_looked_at(context: RunContext, bundle: Path) -> None:
    """The queue holds as many errors as the plan asks for; the rollout is refused and says what to run."""
    assert [error["row_id"] for error in queue_of(context).rows] == [4, 2]
    run_decide(context, bundle=bundle)
    version = run_register(context, bundle=bundle)
    with pytest.raises(NotAdmitted, match=r"2 of 2 confident errors wait for an expert.*sextant review") as caught:
        run_roll_out(context, bundle=bundle, version=version)
    assert caught.value.exit_code is ExitCode.GATE_UNKNOWN
    review(context, person="ann", row_id=4, finding="label-wrong", remark="a smudge")
    assert queue_of(context).open_rows == [2]
    review(context, person="bob", row_id=2, finding="model-wrong", remark="")
    require_reviews(context)
    assert queue_of(context).verdict is Verdict.PASS


def test_an_unacceptable_error_stops_the_version_until_its_reviewer_takes_it_back(context: RunContext) -> None:
    """It is a fail with the person's words; a later finding of the same person on the row replaces it."""
    review(context, person="ann", row_id=4, finding="model-wrong", remark="")
    review(context, person="ann", row_id=2, finding="unacceptable", remark="a stop sign")
    with pytest.raises(NotAdmitted, match="ann calls the error on row 2 unacceptable: a stop sign") as caught:
        require_reviews(context)
    assert caught.value.exit_code is ExitCode.GATE_FAILED
    review(context, person="bob", row_id=2, finding="model-wrong", remark="")
    assert queue_of(context).verdict is Verdict.FAIL
    review(context, person="ann", row_id=2, finding="model-wrong", remark="seen again")
    require_reviews(context)


def test_only_the_plans_reviewers_speak_and_only_of_the_queue(context: RunContext) -> None:
    """The refusals name who and what there is."""
    with pytest.raises(UsageError, match=r"--as eve: the plan names others to review.*ann, bob"):
        review(context, person="eve", row_id=4, finding="model-wrong", remark="")
    with pytest.raises(UsageError, match="--row 0: not in the queue"):
        review(context, person="ann", row_id=0, finding="model-wrong", remark="")


def test_another_bundles_queue_begins_with_no_review(context: RunContext, bundle: Path) -> None:
    """What was said of one model's errors says nothing of another's."""
    for row in (4, 2):
        review(context, person="ann", row_id=row, finding="model-wrong", remark="")
    text = (bundle / "bundle.json").read_text()
    (bundle / "bundle.json").write_text(text.replace('"abstain_below": 0.0', '"abstain_below": 0.5'))
    _evaluate(context, bundle)
    assert queue_of(context).open_rows == [4, 2]


def test_the_command_shows_the_queue_and_takes_a_finding(context: RunContext) -> None:
    """It exits 3 while errors wait and 0 once none does; half a review is refused."""

    def call(*arguments: str) -> Any:
        return CliRunner().invoke(command, [str(context.run), *arguments], standalone_mode=False)

    shown = call()
    assert (shown.return_value, "taken for flat at 0.900" in shown.stdout) == (3, True)
    assert isinstance(call("--as", "ann").exception, UsageError)
    assert call("--as", "ann", "--row", "4", "--finding", "model-wrong").return_value == 3
    assert call("--as", "ann", "--row", "2", "--finding", "undecidable", "--json").return_value == 0


def test_numbers_that_are_furthest_off_wait_for_experts_too(
    bundle: Path, home: Path, open_run_at: OpenRun, tmp_path: Path
) -> None:
    """An answer that is a number has no probability to be sure by: the largest errors are the queue."""
    context = open_run_at(tmp_path / "r1", home=home, criteria=[ACCURACY], evaluation=EVALUATION)
    labels, answers = np.asarray([10.0, 20.0, 30.0, 40.0]), np.asarray([11.0, 11.0, 30.0, 45.0])
    with context.ledger(Step.EVALUATE) as ledger:
        record_subject(ledger, read_bundle(bundle))
        record_residuals(ledger, NumberAnswers(answers, labels), Examples([7, 8, 9, 10], {}, labels), {})
    with pytest.raises(NotAdmitted, match="2 of 2 largest errors wait for an expert"):
        require_reviews(context)
    shown = CliRunner().invoke(command, [str(context.run)], standalone_mode=False)
    assert "20 taken for 11" in shown.stdout
    for row in (8, 10):
        review(context, person="ann", row_id=row, finding="model-wrong", remark="")
    require_reviews(context)
    with context.ledger(Step.ROLL_OUT) as ledger:
        record_reviews(ledger, context)
    record, _ = read_run(context.run)["roll_out"]
    assert (record.task, record.verdict) == ("largest errors", Verdict.PASS)


def test_answers_are_evidence_of_a_run_that_is_never_rolled_out(context: RunContext) -> None:
    """Each answer is recorded when it is given, with the name, and the dossier's task on the queue rests on it."""
    for row, finding, verdict in ((4, "label-wrong", Verdict.UNKNOWN), (2, "unacceptable", Verdict.FAIL)):
        arguments = [str(context.run), "--as", "ann", "--row", str(row), "--finding", finding]
        CliRunner().invoke(command, arguments, standalone_mode=False)
        record, _ = read_run(context.run / LATER)["review"]
        assert (record.task, record.verdict) == ("confident errors", verdict)
    answered = record.artifacts["errors-answered.json"]
    lines = json.loads(ArtifactStore(context.run / LATER).read_bytes(answered))
    assert [(line["person"], line["row_id"], line["finding"]) for line in lines] == [
        ("ann", 4, "label-wrong"),
        ("ann", 2, "unacceptable"),
    ]
    facts = read_facts(context)
    (task,) = [each for each in task_results(facts) if record in each.evidence]
    assert task.state == Verdict.FAIL
    assert record.id in render(facts)
    assert Step.ROLL_OUT not in read_run(context.run)


@pytest.fixture(scope="module")
def shown(
    bars: Data, made: Made, session_home: Path, open_run_at: OpenRun, tmp_path_factory: pytest.TempPathFactory
) -> Made:
    """The trained model optimised under a plan that asks ann, who answers for the domain, about two attributions."""
    folder = tmp_path_factory.mktemp("shown")
    plan = {
        "owner": {"team": "tests", "approvers": ["maintainer"], "roles": {"domain": "ann"}},
        "criteria": [ACCURACY],
        "model": {**PLAN["model"], "attributions": {"reviewers": ["ann"], "rows": 2}},
    }
    context = open_run_at(folder / "r", home=session_home, **plan)
    bundle = folder / "bundle"
    run_optimise(context, snapshot=bars.snapshot, splits=bars.splits, model=made.model, bundle=bundle)
    return Made(context, made.model, bundle)


def test_attributions_are_shown_in_engineering_and_unknown_until_they_are_answered(shown: Made) -> None:
    """Pictures, labels and answers of validation rows lie in the step's evidence, with the name that has to answer."""
    records = read_run(shown.context.run)[Step.OPTIMISE]
    (record,) = [record for record in records if record.task == "attributions"]
    assert (record.verdict, record.value) == (Verdict.UNKNOWN, {"rows": 2, "asked": ["ann"]})
    assert set(record.artifacts) == {"attributions.json", "attributions.png"}
    assert records[-1].verdict is Verdict.PASS  # the answer is asked before the promotion, not of the step
    queue = queue_of(shown.context, "attributions")
    assert (queue.bundle, len(queue.open_rows)) == (shown.spec.digest, 2)


def test_a_version_waits_for_the_answers_and_the_rollout_records_them(shown: Made) -> None:
    """Who, as what, found what: written once, refused where it is unacceptable, and part of the rollout's ledger."""
    context, rows = shown.context, queue_of(shown.context, "attributions").open_rows
    with pytest.raises(NotAdmitted, match=r"2 of 2 attributions wait for an expert.*--of attributions"):
        require_reviews(context)
    with pytest.raises(UsageError, match="--finding label-wrong: no finding on attributions"):
        review(context, person="ann", row_id=rows[0], finding="label-wrong", remark="", kind="attributions")
    review(context, person="ann", row_id=rows[0], finding="unacceptable", remark="the border", kind="attributions")
    with pytest.raises(NotAdmitted, match="rests on unacceptable: the border") as caught:
        require_reviews(context)
    assert caught.value.exit_code is ExitCode.GATE_FAILED
    for row in rows:
        review(context, person="ann", row_id=row, finding="sound", remark="the bar", kind="attributions")
    require_reviews(context)
    with context.ledger(Step.ROLL_OUT) as ledger:
        record_reviews(ledger, context)
    (record, _end) = read_run(context.run)[Step.ROLL_OUT]
    assert (record.task, record.verdict, record.value) == ("attributions", Verdict.PASS, {"answered": 2, "open": 0})
    answers = json.loads(context.artifacts.read_bytes(record.artifacts["attributions-answered.json"]))
    assert answers[-1] == {
        "row_id": rows[1], "person": "ann", "role": "domain", "finding": "sound", "remark": "the bar",
    }  # fmt: skip


def test_trees_are_attributed_without_gradients() -> None:
    """The column that decides has the largest part, a column that nothing hangs on has none."""
    features = np.asarray([[1.0, 0.0], [-1.0, 5.0], [0.0, 1.0]], dtype=np.float32)

    def run(inputs: dict[str, Any]) -> Any:
        sure = 1 / (1 + np.exp(-inputs["features"][:, 0]))
        return np.stack([1 - sure, sure], axis=1)

    parts = columns_left_out(run, {"features": features}, {"features": features})
    assert (parts[:2, 0] > 0.2).all()
    assert (parts[:, 1] == 0).all()
