"""Processes that share one search: on this machine, or as pods that the storage's address finds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sextant_components.modelling.studies import Place, shared_storage
from sextant_components.runs.context import RunContext

LAST_SECONDS = 10  # after which a helper that does not end by itself is killed; its trial is nobody's loss


@contextmanager
def shared_search(context: RunContext, *, snapshot: Path, splits: Path, checkpoints: Path) -> Iterator[Place | None]:
    """Start the helpers that the plan asks for, and end them after the search; None where the search is one process's.

    The study lies in the storage that the environment names, else in a journal beside the checkpoints. A helper that
    fails takes nothing with it: the trials that it has not finished are tried by the others.
    """
    storage, processes = shared_storage(), context.plan.model.search.processes
    if storage is None and processes == 1:
        yield None
        return
    place = Place(storage or str(checkpoints / "study.journal"), study_name(context))
    command = [sys.executable, "-m", "sextant_components.modelling.search_helper", str(context.run)]
    folders = ["--snapshot", str(snapshot), "--splits", str(splits), "--storage", place.storage]
    helpers = [subprocess.Popen([*command, *folders, "--number", str(number)]) for number in range(1, processes)]
    try:
        yield place
    finally:
        for helper in helpers:
            helper.terminate()
        for helper in helpers:
            try:
                helper.wait(LAST_SECONDS)
            except subprocess.TimeoutExpired:
                helper.kill()
                helper.wait()


def study_name(context: RunContext) -> str:
    """Return the name under which a run's study is kept."""
    return f"{context.plan.name}-{context.run_id}"
