"""Every ending of a run has its exit code, and its dossier says why; none of these trains, so each is short."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(600)]
MISSING = "{id: missing, metric: missing_rate, at_most: 0.02, min_n: 200}"


def _only_run(workshop: Any) -> Path:
    (run,) = (workshop.home / "runs").iterdir()
    assert isinstance(run, Path)
    return run


def _duplicate(workshop: Any, tiny_data: Path, rows: int) -> None:
    """Give the first `rows` rows a second time under new keys, and gate on the share of duplicates."""
    header, *lines = (tiny_data / "table.csv").read_text(encoding="utf-8").splitlines()
    place = header.split(",").index("digit_id")
    again = [line.split(",") for line in lines[:rows]]
    for cells in again:
        cells[place] += "-again"
    data = workshop.folder / "doubled"
    data.mkdir()
    (data / "images").symlink_to(tiny_data / "images")
    table = [header, *lines, *(",".join(cells) for cells in again)]
    (data / "table.csv").write_text("\n".join(table) + "\n", encoding="utf-8")
    workshop.edit_plan("source: data", "source: doubled")
    workshop.edit_plan(MISSING, "{id: duplicates, metric: duplicate_rate, at_most: 0.05, min_n: 200}")


def test_a_proved_violation_fails_the_run(workshop: Any, tiny_data: Path) -> None:
    """Every row twice breaks the limit on duplicates: exit 1, no training, no model, and a dossier that says so."""
    _duplicate(workshop, tiny_data, 480)
    done = workshop.run("run")
    run = _only_run(workshop)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "fail     duplicates" in done.stdout
    assert "duplicates" in (run / "dossier.html").read_text(encoding="utf-8")
    assert not (run / "ledger" / "train-1.jsonl").exists()
    assert not (workshop.home / "active.json").exists()


def test_too_little_evidence_blocks_the_run(workshop: Any, tiny_data: Path) -> None:
    """20 duplicates in 490 rows prove neither side of 5 %: exit 3, a dossier, and nothing in service."""
    _duplicate(workshop, tiny_data, 10)
    done = workshop.run("run", "--json")
    result = json.loads(done.stdout)
    assert done.returncode == 3, done.stdout + done.stderr
    assert {c["id"]: c["verdict"] for c in result["criteria"]}["duplicates"] == "unknown"
    assert Path(result["dossier"]).exists()
    assert not (workshop.home / "active.json").exists()


def test_broken_data_is_a_usage_error_with_its_cause(workshop: Any, tiny_data: Path) -> None:
    """A picture that is gone: exit 2, the file by name, a dossier, and never only that an inner task failed."""
    data = workshop.folder / "torn"
    (data / "images").mkdir(parents=True)
    (data / "table.csv").write_bytes((tiny_data / "table.csv").read_bytes())
    workshop.edit_plan("source: data", "source: torn")
    done = workshop.run("run")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "step " in done.stderr
    assert ".png" in done.stderr
    assert "Traceback" not in done.stderr
    assert (_only_run(workshop) / "dossier.html").exists()


def test_a_bad_plan_starts_no_run(workshop: Any) -> None:
    """An unknown key stops before a run's folder is made: exit 2 with the line."""
    workshop.edit_plan("  epochs:", "  epoch:")
    done = workshop.run("run")
    assert done.returncode == 2
    assert "model.epoch" in done.stderr
    assert not workshop.home.exists()


def test_a_path_that_the_local_runner_rewrites_is_refused(workshop: Any) -> None:
    """KFP's local runner replaces `python3` in every value; better a sentence than a run in the wrong folder."""
    done = workshop.run("run", "--home", str(workshop.folder / "python3" / "home"))
    assert done.returncode == 2
    assert "--home" in done.stderr
