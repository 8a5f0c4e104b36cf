"""What holds a run back outside its criteria is printed, so that nobody has to open the dossier to learn it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sextant_components.runs.context import RunContext, Step, create_run
from sextant_pipelines.criteria import open_checks
from sextant_plan.ledger import LedgerWriter
from sextant_plan.verdicts import Verdict

Sextant = Callable[..., Any]


@pytest.fixture
def run(plan_file: Path, tmp_path: Path) -> RunContext:
    """A run before its first step."""
    return create_run(tmp_path / "home" / "runs" / "r", run_id="r", plan_path=plan_file, home=tmp_path / "home")


def _check(ledger: LedgerWriter, verdict: Verdict, *, counts: bool = True) -> None:
    ledger.record(
        "rows a class",
        requirement="each class keeps at least 3 rows",
        risk="a class is tested and was never taught",
        qa_method="rows by label",
        value={"scarce": {"plum": 1}},
        verdict=verdict,
        counts=counts,
    )


def test_a_failed_check_is_reported_with_what_it_found(run: RunContext, sextant: Sextant) -> None:
    """The line has the verdict, the step, the finding and the demand."""
    with run.ledger(Step.VERIFY) as ledger:
        _check(ledger, Verdict.FAIL)
    lines = sextant("report", run.run, "--verdicts").out.splitlines()
    assert (
        lines[-1] == "fail     verify: rows a class     found scarce (plum 1); needs: each class keeps at least 3 rows"
    )


def test_a_record_that_only_informs_is_not_reported(run: RunContext) -> None:
    """What did not enter the step's verdict holds nothing back."""
    with run.ledger(Step.VERIFY) as ledger:
        _check(ledger, Verdict.UNKNOWN, counts=False)
    assert open_checks(run) == []


def test_the_decision_does_not_repeat_the_steps_before_it(run: RunContext) -> None:
    """One line a cause; a decision that alone holds the run back is reported."""
    with run.ledger(Step.DECIDE) as ledger:
        _check(ledger, Verdict.UNKNOWN)
    assert [check.step for check in open_checks(run)] == [Step.DECIDE]
    with run.ledger(Step.TRAIN) as ledger:
        _check(ledger, Verdict.FAIL)
    assert [check.step for check in open_checks(run)] == [Step.TRAIN]
