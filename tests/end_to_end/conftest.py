"""The tiny example in folders of their own, and the `sextant` command as a user's shell starts it."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Workshop:
    """A folder with a plan and its data; commands run in it with a home of its own."""

    folder: Path

    @property
    def home(self) -> Path:
        """Where runs, registry, features and bundles lie."""
        return self.folder / ".sextant"

    @property
    def plan(self) -> Path:
        """The plan file."""
        return self.folder / "plan.yaml"

    def edit_plan(self, old: str, new: str) -> None:
        """Replace one passage of the plan."""
        text = self.plan.read_text(encoding="utf-8")
        assert text.count(old) == 1
        self.plan.write_text(text.replace(old, new), encoding="utf-8")

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command and return at once."""
        return subprocess.Popen(
            [sys.executable, "-m", "sextant_pipelines.cli", *arguments],
            cwd=self.folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        with self.start(*arguments) as process:
            out, err = process.communicate()
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny example's data, made once by its own generator."""
    folder = tmp_path_factory.mktemp("tiny") / "data"
    subprocess.run([sys.executable, "-m", "sextant_examples.tiny", str(folder)], check=True, capture_output=True)
    return folder


def _lay_out(folder: Path, data: Path) -> Workshop:
    shutil.copy(ROOT / "examples" / "tiny" / "plan.yaml", folder / "plan.yaml")
    (folder / "data").symlink_to(data)
    return Workshop(folder)


@pytest.fixture
def workshop(tmp_path: Path, tiny_data: Path) -> Workshop:
    """A fresh workshop for one test."""
    return _lay_out(tmp_path, tiny_data)


@pytest.fixture(scope="session")
def shared_workshop(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> Workshop:
    """The workshop of the one whole run that several tests look at."""
    return _lay_out(tmp_path_factory.mktemp("whole"), tiny_data)


@pytest.fixture(scope="session")
def processes_of() -> type[Processes]:
    """How to look at a run's processes."""
    return Processes


class Processes:
    """The processes whose command line names a folder."""

    @staticmethod
    def naming(folder: Path) -> Sequence[int]:
        """Return their ids."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdecimal() and str(folder).encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    @classmethod
    def await_end(cls, folder: Path, *, seconds: float) -> None:
        """Wait for the end of them all, those that they start meanwhile too, each for so many seconds at most."""
        while found := cls.naming(folder):
            for process in found:
                with suppress(ProcessLookupError), _handle(process) as handle:
                    ended, _, _ = select.select([handle], [], [], seconds)
                    assert ended, f"process {process} goes on"


@contextmanager
def _handle(process: int) -> Iterator[int]:
    """Open a process's file descriptor, which is readable once it has ended."""
    handle = os.pidfd_open(process)
    try:
        yield handle
    finally:
        os.close(handle)
