"""The version control that a run's plan lies in: its commit, what was changed since, and whether it holds tests."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from sextant_plan.ledger import LedgerWriter
from sextant_plan.schema import Closed
from sextant_plan.verdicts import Verdict

GIT_SECONDS = 10.0
MOST_NAMED = 20
TEST_FILE = re.compile(r"(^|/)(test_[^/]*|[^/]*_test|[^/]*\.test|[^/]*Test)\.\w+$")
CI_FILE = re.compile(
    r"^(\.github/workflows/[^/]+\.ya?ml|\.gitlab-ci\.yml|\.circleci/config\.yml|azure-pipelines\.yml|Jenkinsfile|\.ci/.+)$"
)


class Repository(Closed):
    """A git repository as it was when a run was laid out; `changed` are files of the plan's folder not committed."""

    commit: str
    changed: list[str] = []
    test_files: int = 0
    ci: list[str] = []


def read_repository(plan_path: Path) -> Repository | None:
    """Return the repository that tracks a plan file; None if none does, or if git is not there or does not answer."""
    folder = plan_path.resolve().parent
    top, commit = _git(folder, "rev-parse", "--show-toplevel"), _git(folder, "rev-parse", "--verify", "HEAD")
    tracked = _git(folder, "ls-files", "--error-unmatch", "--", plan_path.name)
    if top is None or commit is None or tracked is None:
        return None
    files = (_git(Path(top.strip()), "ls-files", "-z") or "").split("\0")
    changed = (_git(folder, "status", "--porcelain", "-z", "--untracked-files=no", "--", ".") or "").split("\0")
    return Repository(
        commit=commit.strip(),
        changed=sorted(line[3:] for line in changed if line)[:MOST_NAMED],
        test_files=sum(TEST_FILE.search(name) is not None for name in files),
        ci=sorted(name for name in files if CI_FILE.match(name))[:MOST_NAMED],
    )


def record_repository(ledger: LedgerWriter, repository: Repository | None) -> None:
    """Record the commit that a plan is run from and whether the repository is tested; both inform."""
    committed = repository is not None and not repository.changed
    ledger.record(
        "repository",
        requirement="the plan is run as it is committed, so that its reviewers saw what ran",
        risk="nobody can say which plan and code gave the result, or who looked at them",
        qa_method="git in the plan's folder when the run was laid out; it informs and does not judge",
        value={"commit": repository.commit, "changed": repository.changed} if repository else {"commit": None},
        verdict=Verdict.PASS if committed else Verdict.UNKNOWN,
        counts=False,
    )
    tested = repository is not None and repository.test_files > 0 and bool(repository.ci)
    ledger.record(
        "repository tests",
        requirement="the repository of the plan holds tests, and a pipeline that runs them",
        risk="the code that makes the inputs is wrong and nothing notices",
        qa_method="tracked files by their names; whether the tests pass is told by that pipeline, not by this run",
        value={"test_files": repository.test_files, "ci": repository.ci} if repository else {"test_files": 0, "ci": []},
        verdict=Verdict.PASS if tested else Verdict.UNKNOWN,
        counts=False,
    )


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git prints, None if it fails."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=GIT_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
