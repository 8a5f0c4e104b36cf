"""The experts' queue: who may speak, what keeps a version back, and that another bundle's queue begins anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from sextant_components.context import RunContext, Step
from sextant_components.decide import run_decide
from sextant_components.evaluation_records import record_champion, record_errors, record_subject
from sextant_components.expert_review import queue_of, require_reviews, review
from sextant_components.gates import Settled, record_criterion
from sextant_components.metrics import Answers
from sextant_components.register import run_register
from sextant_components.roll_out import run_roll_out
from sextant_components.tensors import Examples
from sextant_pipelines.commands.review import command
from sextant_plan.bundle import read_bundle, seal_bundle
from sextant_plan.errors import ExitCode, UsageError
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
    assert [error["row_id"] for error in queue_of(context).errors] == [4, 2]
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
