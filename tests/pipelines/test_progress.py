"""Live progress comes from the ledger files alone, whatever state they are in."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path

from sextant_pipelines.progress import Progress
from sextant_plan.ledger import LedgerWriter, Origin
from sextant_plan.verdicts import Verdict

ORIGIN = Origin("r", "sha256:" + "0" * 64, "code", "local")


def _record(writer: LedgerWriter, verdict: Verdict) -> None:
    writer.record("look", requirement="r", risk="k", qa_method="m", verdict=verdict)


def test_a_step_is_shown_when_it_begins_and_when_it_ends(tmp_path: Path) -> None:
    """Two lines a step, the second with its verdict; nothing is repeated."""
    out = io.StringIO()
    progress = Progress(tmp_path, out)
    with LedgerWriter(tmp_path, "train", "model engineering", ORIGIN) as writer:
        _record(writer, Verdict.FAIL)
        progress.update()
        progress.update()
    progress.update()
    progress.close()
    lines = [line.split() for line in out.getvalue().splitlines()]
    assert [line[:4] for line in lines] == [
        ["running", "train", "model", "engineering"],
        ["fail", "train", "model", "engineering"],
    ]


def test_a_half_written_line_is_waited_for(tmp_path: Path) -> None:
    """A line without its end is not read as a verdict, nor as an error."""
    out = io.StringIO()
    progress = Progress(tmp_path, out)
    (tmp_path / "ledger").mkdir()
    (tmp_path / "ledger" / "verify-1.jsonl").write_text('{"task": "step-en', encoding="utf-8")
    progress.update()
    assert [line.split()[0] for line in out.getvalue().splitlines()] == ["running"]


def test_a_step_that_died_is_shown_as_stopped(tmp_path: Path) -> None:
    """At the end of the run, a step without its closing record is not left as running."""
    out = io.StringIO()
    progress = Progress(tmp_path, out)
    with suppress(KeyError), LedgerWriter(tmp_path, "verify", "data", ORIGIN) as writer:
        _record(writer, Verdict.PASS)
        raise KeyError
    progress.close()
    assert [line.split()[0] for line in out.getvalue().splitlines()] == ["running", "stopped"]


def test_attempts_of_an_earlier_run_are_not_shown(tmp_path: Path) -> None:
    """A run that is taken up again shows what happens now."""
    with LedgerWriter(tmp_path, "plan", "planning", ORIGIN) as writer:
        _record(writer, Verdict.PASS)
    out = io.StringIO()
    progress = Progress(tmp_path, out)
    with LedgerWriter(tmp_path, "plan", "planning", ORIGIN) as writer:
        _record(writer, Verdict.UNKNOWN)
    progress.close()
    assert [line.split()[0] for line in out.getvalue().splitlines()] == ["running", "unknown"]
