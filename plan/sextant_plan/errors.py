"""The errors a user can meet, each with the exit code it leads to.

Every class takes facts and builds one sentence: what was found, what was expected, what to do next.
No message repeats a payload.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path


class ExitCode(IntEnum):
    """What a command tells its caller (docs/reference/exit-codes.md)."""

    OK = 0
    GATE_FAILED = 1
    USAGE = 2
    GATE_UNKNOWN = 3
    INFRASTRUCTURE = 4


PRECEDENCE = (
    ExitCode.USAGE,
    ExitCode.INFRASTRUCTURE,
    ExitCode.GATE_FAILED,
    ExitCode.GATE_UNKNOWN,
    ExitCode.OK,
)


def gravest(codes: Iterable[ExitCode]) -> ExitCode | None:
    """Return the code that is reported where several are called for, the first in PRECEDENCE; None for none."""
    return min(codes, key=PRECEDENCE.index, default=None)


class SextantError(Exception):
    """Base of every error that Sextant raises on purpose."""

    exit_code = ExitCode.INFRASTRUCTURE


class UsageError(SextantError):
    """The command, or a file the user wrote, is wrong."""

    exit_code = ExitCode.USAGE


class InfrastructureError(SextantError):
    """The machine, a server or a stored file is not as it has to be."""

    exit_code = ExitCode.INFRASTRUCTURE


@dataclass(frozen=True, order=True)
class Finding:
    """One thing wrong in a user's file: where it is (1-based line and column), what it is, how to mend it."""

    line: int
    column: int
    field: str
    problem: str
    remedy: str

    def render(self, path: Path | str) -> str:
        """Return `path:line:column: field: problem. remedy`."""
        return f"{path}:{self.line}:{self.column}: {self.field}: {self.problem}. {self.remedy}"


class PlanError(UsageError):
    """A plan that cannot be run; carries every finding, not only the first."""

    def __init__(self, path: Path | str, findings: list[Finding]) -> None:
        self.path = path
        self.findings = sorted(findings)
        super().__init__("\n".join(finding.render(path) for finding in self.findings))


class DataError(UsageError):
    """The user's data cannot be used as the plan says; names the file and the row or column."""

    def __init__(self, where: Path | str, problem: str, remedy: str) -> None:
        self.where, self.problem, self.remedy = where, problem, remedy
        super().__init__(f"{where}: {problem}. {remedy}")


class BundleCorrupt(InfrastructureError):
    """A model bundle whose files are not those that were sealed."""

    def __init__(self, bundle: Path | str, file: str, found: str, expected: str) -> None:
        super().__init__(
            f"{bundle}: {file} has {found}, but should have {expected}. "
            "Fetch the bundle again, or make another with sextant run; nothing was loaded."
        )


class LedgerCorrupt(InfrastructureError):
    """A ledger or an artifact that is not what was written."""

    def __init__(self, path: Path | str, line: int, problem: str) -> None:
        self.line, self.problem = line, problem
        super().__init__(f"{path}:{line}: {problem}. Restore the run from its store; its evidence cannot be trusted.")
