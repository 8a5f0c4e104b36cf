"""The repository of a run's plan, read by a real git: commit, changes since, tests."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from sextant_components.planning.plan import run_plan
from sextant_components.runs.repository import read_repository
from sextant_plan.verdicts import Verdict

pytestmark = pytest.mark.usefixtures("load_already_measured")


def git(folder: Path, *arguments: str) -> str:
    person = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *person, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def committed(workshop: Any) -> Any:
    """A workshop whose plan lies in a repository with one test and a pipeline."""
    workshop.open()
    (workshop.root / ".github" / "workflows").mkdir(parents=True)
    (workshop.root / ".github" / "workflows" / "check.yml").write_text("on: push\n", encoding="utf-8")
    (workshop.root / "tests").mkdir()
    (workshop.root / "tests" / "test_rules.py").write_text("def test_rules(): ...\n", encoding="utf-8")
    git(workshop.root, "init", "--quiet")
    git(workshop.root, "add", "plan.yaml", "tests", ".github")
    git(workshop.root, "commit", "--quiet", "--message", "A plan")
    return workshop


def test_a_committed_plan_names_its_commit_and_its_tests(committed: Any, records: Any) -> None:
    """Both records pass, and stand in the ledger of the plan step."""
    context = committed.open()
    assert run_plan(context) is Verdict.PASS
    found = records(context, "plan")
    assert found["repository"].value == {"commit": git(committed.root, "rev-parse", "HEAD"), "changed": []}
    assert found["repository tests"].value == {"test_files": 1, "ci": [".github/workflows/check.yml"]}
    assert {found[task].verdict for task in ("repository", "repository tests")} == {Verdict.PASS}


def test_a_plan_that_was_changed_since_is_unknown_and_named(committed: Any, records: Any) -> None:
    """What ran is not what a reviewer saw; it informs, so the step passes."""
    committed.plan["owner"]["team"] = "others"
    context = committed.open()
    assert run_plan(context) is Verdict.PASS
    record = records(context, "plan")["repository"]
    assert (record.verdict, record.value["changed"]) == (Verdict.UNKNOWN, ["plan.yaml"])


def test_a_plan_outside_of_version_control_is_unknown(workshop: Any, records: Any) -> None:
    """No commit is made up for it."""
    context = workshop.open()
    assert run_plan(context) is Verdict.PASS
    assert records(context, "plan")["repository"].value == {"commit": None}


def test_a_plan_that_its_repository_does_not_track_has_none(committed: Any, tmp_path: Path) -> None:
    """A scratch folder below a checkout is not under version control; nor is anything where git is not there."""
    stray = tmp_path / "stray.yaml"
    stray.write_text("name: stray\n", encoding="utf-8")
    assert read_repository(stray) is None
    assert read_repository(tmp_path / "plan.yaml") is not None


def test_without_git_there_is_no_repository(committed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image without git lays a run out all the same."""
    monkeypatch.setenv("PATH", "")
    assert read_repository(committed.root / "plan.yaml") is None
