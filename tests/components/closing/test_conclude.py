"""The conclusion: a run is as good as its worst step, and silence is never a pass."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sextant_components.closing.conclude import run_conclude
from sextant_components.runs.context import RunContext, Step, create_run
from sextant_components.runs.outcome import ERROR_FILE
from sextant_plan.canonical import digest_of, digest_of_file
from sextant_plan.verdicts import Verdict, worst

PROMISED = (Step.DECIDE, Step.REGISTER, Step.ROLL_OUT)


def conclusion(context: RunContext) -> dict[str, Any]:
    """Conclude the run and return what was written; the returned verdict is the written one."""
    verdict = run_conclude(context)
    written: dict[str, Any] = json.loads((context.run / "conclusion.json").read_bytes())
    assert written["verdict"] == verdict
    return written


def finish(context: RunContext, step: Step, verdict: Verdict = Verdict.PASS) -> None:
    """Write one finished attempt of a step."""
    with context.ledger(step) as ledger:
        ledger.record("it", requirement="holds", risk="it does not", qa_method="looked", verdict=verdict)


def leave_open(context: RunContext, step: Step) -> None:
    """Write an attempt that died."""
    ledger = context.ledger(step)
    ledger.record("half", requirement="", risk="", qa_method="", verdict=Verdict.PASS)
    ledger.__exit__(RuntimeError, RuntimeError("died"), None)


def raised(context: RunContext, step: str, exit_code: int, *, at: float | None = None) -> None:
    """Write what the steps' wrapper leaves behind for an exception."""
    path = context.run / ERROR_FILE
    report = {"step": step, "type": "DataError", "message": "parcels.csv: no column.", "exit_code": exit_code}
    path.write_text(json.dumps(report), encoding="utf-8")
    if at is not None:
        os.utime(path, (at, at))


def test_a_run_that_passed_everything_passes(tell: Callable[..., RunContext]) -> None:
    """Eleven finished steps that pass give pass and exit code 0."""
    written = conclusion(tell())
    assert (written["verdict"], written["exit_code"]) == ("pass", 0)
    assert set(written["steps"].values()) == {"pass"}
    assert (written["unfinished"], written["not_reached"], written["error"]) == ([], [], None)


def test_a_run_in_which_nothing_happened_is_unknown(empty_run: RunContext) -> None:
    """No evidence at all is not a pass."""
    written = conclusion(empty_run)
    assert (written["verdict"], written["exit_code"]) == ("unknown", 3)
    assert written["not_reached"] == [step.value for step in Step]


@given(verdicts=st.lists(st.sampled_from(list(Verdict)), max_size=len(Step)))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_truth_table(
    tmp_path_factory: pytest.TempPathFactory, empty_run: RunContext, verdicts: list[Verdict]
) -> None:
    """Any fail is 1, else any unknown or a promised step that was not reached is 3, else 0."""
    folder = tmp_path_factory.mktemp("run")
    context = create_run(folder / "r", run_id="r", plan_path=empty_run.run / "plan.yaml", home=folder)
    for step, verdict in zip(Step, verdicts, strict=False):
        finish(context, step, verdict)
    reached = list(Step)[: len(verdicts)]
    missing = [Verdict.UNKNOWN for step in PROMISED if step not in reached]
    expected = worst([*verdicts, *missing])
    written = conclusion(context)
    assert written["verdict"] == expected
    assert written["exit_code"] == {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.UNKNOWN: 3}[expected]


@pytest.mark.parametrize("absent", PROMISED)
def test_a_decision_that_was_not_taken_or_carried_out_is_no_pass(empty_run: RunContext, absent: Step) -> None:
    """Every step but one passed; that one never began."""
    for step in Step:
        if step is not absent:
            finish(empty_run, step)
    assert conclusion(empty_run)["exit_code"] == 3


def test_a_step_that_died_is_infrastructure(tell: Callable[..., RunContext]) -> None:
    """A step that began and did not finish ends the run with 4, before any verdict."""
    written = conclusion(tell(crash_in=Step.TRAIN))
    assert (written["verdict"], written["exit_code"], written["unfinished"]) == ("unknown", 4, ["train"])


def test_a_step_that_died_at_once_is_infrastructure(empty_run: RunContext) -> None:
    """An empty ledger file is a step that began."""
    empty_run.ledger(Step.PLAN)._file.close()
    assert conclusion(empty_run)["exit_code"] == 4


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        pytest.param(2, 2, id="a usage error is no fault of the machine"),
        pytest.param(4, 4, id="an error of the machine"),
        pytest.param(1, 1, id="the loser of a promotion race"),
    ],
)
def test_a_recorded_error_explains_the_step_that_died(empty_run: RunContext, code: int, expected: int) -> None:
    """The error's own exit code stands for the step that it stopped."""
    finish(empty_run, Step.PLAN)
    leave_open(empty_run, Step.INGEST)
    raised(empty_run, "ingest", code)
    written = conclusion(empty_run)
    assert written["exit_code"] == expected
    assert written["error"]["message"] == "parcels.csv: no column."
    assert written["verdict"] == ("fail" if code == 1 else "unknown")


@pytest.mark.parametrize(
    ("error", "died", "verdict", "expected"),
    [
        pytest.param(2, True, Verdict.FAIL, 2, id="usage over infrastructure"),
        pytest.param(4, False, Verdict.FAIL, 4, id="infrastructure over fail"),
        pytest.param(None, True, Verdict.FAIL, 4, id="a dead step over fail"),
        pytest.param(None, False, Verdict.FAIL, 1, id="fail over unknown"),
        pytest.param(None, False, Verdict.UNKNOWN, 3, id="unknown"),
    ],
)
def test_the_order_of_exit_codes(
    empty_run: RunContext, error: int | None, died: bool, verdict: Verdict, expected: int
) -> None:
    """Usage error, then infrastructure, then fail, then unknown."""
    finish(empty_run, Step.PLAN, verdict)
    if died:
        leave_open(empty_run, Step.TRAIN)
    if error is not None:
        raised(empty_run, "ingest", error)
    assert conclusion(empty_run)["exit_code"] == expected


def test_an_error_that_a_retry_outlived_does_not_count(tell: Callable[..., RunContext]) -> None:
    """A step that raised and finished in a later attempt is finished; one that raised after finishing is not."""
    context = tell()
    raised(context, "train", 4, at=time.time() - 3600)
    assert conclusion(context)["exit_code"] == 0
    raised(context, "train", 4)
    assert conclusion(context)["exit_code"] == 4


@pytest.mark.parametrize("text", ["", "{", "[]", '{"step": 1}'])
def test_an_unreadable_error_report_is_infrastructure(tell: Callable[..., RunContext], text: str) -> None:
    """A report that cannot be read still says that something went wrong."""
    context = tell()
    (context.run / ERROR_FILE).write_text(text, encoding="utf-8")
    assert conclusion(context)["exit_code"] == 4


def test_a_changed_ledger_is_infrastructure(tell: Callable[..., RunContext]) -> None:
    """Evidence that was edited after the fact cannot pass."""
    context = tell()
    path = context.run / "ledger" / "evaluate-1.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"verdict":"pass"', b'"verdict":"fail"', 1))
    written = conclusion(context)
    assert (written["verdict"], written["exit_code"], written["unfinished"]) == ("unknown", 4, ["evaluate"])


def test_a_lost_artifact_is_infrastructure(tell: Callable[..., RunContext]) -> None:
    """A verdict whose evidence is gone is not proved."""
    context = tell()
    lost = next((context.run / "artifacts" / "sha256").iterdir())
    lost.unlink()
    written = conclusion(context)
    assert (written["verdict"], written["exit_code"]) == ("unknown", 4)
    assert written["damaged"] == {f"sha256:{lost.name}": "the artifact is absent"}


def test_the_conclusion_seals_the_ledgers(tell: Callable[..., RunContext]) -> None:
    """Each ledger file is named with its digest, so that its last record too is bound."""
    context = tell()
    written = conclusion(context)
    files = sorted((context.run / "ledger").iterdir())
    assert written["ledgers"] == {f"ledger/{path.name}": digest_of_file(path) for path in files}
    assert written["evidence"] == digest_of(written["ledgers"])
