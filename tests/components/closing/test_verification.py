"""`report --verify`: every change of the evidence is found by file and line, and a gap is told apart from a fault."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sextant_components.closing.conclude import run_conclude
from sextant_components.closing.dossier import run_dossier
from sextant_components.closing.verification import Verification, describe, verify_run
from sextant_components.runs.context import RunContext, Step, open_run
from sextant_plan.errors import ExitCode
from sextant_plan.verdicts import Verdict


@pytest.fixture
def whole(tell: Callable[..., RunContext]) -> RunContext:
    """A run that came to its end and was concluded and closed."""
    context = tell()
    run_conclude(context)
    run_dossier(context)
    return context


def lines(context: RunContext) -> list[str]:
    """Verify a run and return what a reader is told."""
    return describe(context.run, verify_run(context))


def test_a_whole_run_is_whole(whole: RunContext) -> None:
    """No fault, no gap, and every record and artifact counted."""
    found = verify_run(whole)
    assert (found.faults, found.gaps, found.exit_code) == ([], [], ExitCode.OK)
    assert found.ledgers.files == len(Step)
    assert found.ledgers.records > len(Step)
    assert found.ledgers.artifacts > 5


def _flip(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))


def _swap_attempt(run: Path) -> None:
    (run / "ledger" / "train-1.jsonl").rename(run / "ledger" / "train-2.jsonl")


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a changed record": (
        lambda run: _flip(run / "ledger" / "train-1.jsonl", b"small-cnn", b"large-cnn"),
        "ledger/train-1.jsonl:1: the record's id",
    ),
    "a removed record": (
        lambda run: (run / "ledger" / "evaluate-1.jsonl").write_bytes(
            b"".join((run / "ledger" / "evaluate-1.jsonl").read_bytes().splitlines(keepends=True)[1:])
        ),
        "ledger/evaluate-1.jsonl:1: the chain is broken",
    ),
    "a removed file": (
        lambda run: (run / "ledger" / "verify-1.jsonl").unlink(),
        "ledger/verify-1.jsonl: absent, although the conclusion names it",
    ),
    "a renamed file": (_swap_attempt, "ledger/train-2.jsonl:1: the record is of train-1"),
    "a changed conclusion": (
        lambda run: _flip(run / "conclusion.json", b'"verdict": "pass"', b'"verdict": "fail"'),
        "conclusion.json: says fail",
    ),
    "a changed plan": (
        lambda run: _flip(run / "plan.yaml", b"at_least: 0.9,", b"at_least: 0.1,"),
        "plan.yaml: does not say what the frozen plan",
    ),
    "a changed dossier": (
        lambda run: _flip(run / "dossier.html", b"Proved, and in service", b"Proved, and perfected!"),
        "dossier.html: is not what the evidence renders to",
    ),
    "a stray file": (
        lambda run: (run / "ledger" / "notes.txt").write_text("x"),
        "ledger/notes.txt: not the name of an attempt",
    ),
}


@pytest.mark.parametrize(("damage", "told"), DAMAGE.values(), ids=DAMAGE.keys())
def test_what_was_changed_is_named(whole: RunContext, damage: Callable[[Path], Any], told: str) -> None:
    """The fault stands with its file and, in a ledger, its line; the exit code is that of broken storage."""
    damage(whole.run)
    found = verify_run(open_run(str(whole.run)))
    assert found.exit_code is ExitCode.INFRASTRUCTURE
    assert any(told in line for line in describe(whole.run, found)), describe(whole.run, found)


@pytest.mark.parametrize("loss", ["changed", "absent"])
def test_an_artifact_is_named_with_the_record_that_needs_it(whole: RunContext, loss: str) -> None:
    """The line of the record, the artifact's name and what became of it."""
    path = next((whole.run / "artifacts" / "sha256").iterdir())
    if loss == "absent":
        path.unlink()
    else:
        path.write_bytes(b"other")
    said = {"changed": "was changed", "absent": "is absent"}[loss]
    assert any("the artifact " in line and line.endswith(said) for line in lines(whole))
    assert verify_run(whole).exit_code is ExitCode.INFRASTRUCTURE


def test_a_crash_in_mid_write_is_a_gap_and_loses_nothing(tell: Callable[..., RunContext]) -> None:
    """The torn line is named; the records before it are verified; nothing is called false."""
    context = tell(crash_in=Step.TRAIN)
    path = context.run / "ledger" / "train-1.jsonl"
    path.write_bytes(path.read_bytes() + b'{"artifacts":{}')
    found = verify_run(context)
    assert found.faults == []
    assert found.exit_code is ExitCode.GATE_UNKNOWN
    assert any("ledger/train-1.jsonl:2: a line without its end" in line for line in lines(context))


def test_a_crash_that_was_run_again_is_no_gap(tell: Callable[..., RunContext]) -> None:
    """Once a later attempt came to its end, the torn one before it is history."""
    context = tell(crash_in=Step.TRAIN)
    with context.ledger(Step.TRAIN) as ledger:
        ledger.record("search", requirement="", risk="", qa_method="", verdict=Verdict.PASS)
    assert not any("ledger/train-1" in flaw.file for flaw in verify_run(context).gaps)


def test_a_missing_attempt_is_a_gap(empty_run: RunContext) -> None:
    """A later attempt tells that an earlier one was there."""
    for _ in range(2):
        with empty_run.ledger(Step.PLAN) as ledger:
            plan = {"plan": ledger.artifacts.put_json(empty_run.plan.canonical())}
            ledger.record("it", requirement="", risk="", qa_method="", verdict=Verdict.PASS, artifacts=plan)
    (empty_run.run / "ledger" / "plan-1.jsonl").unlink()
    assert any("ledger/plan-1.jsonl: absent, although a later attempt" in line for line in lines(empty_run))


def look(context: RunContext, number: int) -> Verification:
    """Record a look at the sealed rows and verify."""
    records: dict[Step, dict[str, Any]] = {
        Step.PREPARE: {"sealed split": {"sealed_digest": "sha256:" + "5" * 64}},
        Step.EVALUATE: {"look": {"look": number, "budget": 5}, "bundle under test": {"version": "abc"}},
    }
    for step, tasks in records.items():
        with context.ledger(step) as ledger:
            plan = {"plan": ledger.artifacts.put_json(context.plan.canonical())}
            for task, value in tasks.items():
                ledger.record(
                    task, requirement="", risk="", qa_method="", verdict=Verdict.PASS, value=value, artifacts=plan
                )
    return verify_run(context)


def test_a_look_too_many_fails(empty_run: RunContext) -> None:
    """The plan allows five; the sixth is a failed gate, by file and line."""
    found = look(empty_run, 6)
    assert found.exit_code is ExitCode.GATE_FAILED
    assert [str(flaw) for flaw in found.overspent] == ["ledger/evaluate-1.jsonl:1: look 6, and the plan allows 5"]


def test_a_look_that_nobody_counted_is_a_gap(empty_run: RunContext) -> None:
    """Without the write-once count the look cannot be compared, and no count is created by asking."""
    found = look(empty_run, 1)
    assert any("no count of looks" in flaw.problem for flaw in found.gaps)
    assert not (empty_run.home / "mlflow.db").exists()
