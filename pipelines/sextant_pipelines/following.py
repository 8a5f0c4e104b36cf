"""Follows a run on Kubeflow Pipelines to its end and says how it ended: verdict, cause, and the log of what failed."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from sextant_components.conclude import CONCLUSION_FILE
from sextant_components.outcome import ERROR_FILE
from sextant_pipelines.kfp_server import KfpServer, ServerRefused, ServerUnreachable
from sextant_pipelines.local import recorded_cause, recorded_code
from sextant_pipelines.run_store import read_files
from sextant_plan.errors import ExitCode, InfrastructureError

if TYPE_CHECKING:
    from kfp_server_api import V2beta1Run

ENDED = frozenset({"SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"})
POLL_SECONDS = 5.0  # a step takes 20 s or more on a cluster
PATIENCE_SECONDS = 120.0  # an API server that is rolled out anew is back well within two minutes
LOG_LINES = 20
SERVER_ERROR = 500


@dataclass(frozen=True)
class Ending:
    """How a run ended: KFP's state, the exit code it calls for, and in words what went wrong, if anything did."""

    run: str
    state: str
    code: ExitCode
    cause: str | None = None
    log: str | None = None


@dataclass
class Follower:
    """Follows one run; progress goes to `out`. Seconds are monotonic; `poll` and `patience` may be shortened."""

    server: KfpServer
    run: str
    out: TextIO
    poll: float = POLL_SECONDS
    patience: float = PATIENCE_SECONDS
    _shown: dict[str, str] = field(default_factory=dict)

    def follow(self, run_uri: str, *, timeout: float | None) -> Ending:
        """Wait for the end of the run, at most `timeout` seconds, and judge it.

        A run that still goes on then is left alone and reported as infrastructure. Raises what the server raises
        once it has not answered for `patience` seconds; a refusal is raised at once.
        """
        began = answered = time.monotonic()
        state = "PENDING"
        while timeout is None or time.monotonic() - began < timeout:
            try:
                found = self.server.run(self.run)
            except (ServerUnreachable, ServerRefused) as error:
                lasting = not isinstance(error, ServerRefused) or error.status >= SERVER_ERROR
                if not lasting or time.monotonic() - answered >= self.patience:
                    raise
            else:
                answered, state = time.monotonic(), str(found.state or state)
                self._show(found)
                if state in ENDED:
                    return self._judge(found, state, run_uri)
            time.sleep(self.poll)
        cause = f"still {state} after {timeout:g} s and left running. Follow it on: sextant submit --resume {self.run}"
        return Ending(self.run, state, ExitCode.INFRASTRUCTURE, cause)

    def _show(self, run: V2beta1Run) -> None:
        for task in _tasks(run):
            state = str(task.state or "PENDING")
            if self._shown.get(task.task_id) != state:
                self._shown[task.task_id] = state
                self.out.write(f"{state.lower():10} {task.display_name}\n")
        self.out.flush()

    def _judge(self, run: V2beta1Run, state: str, run_uri: str) -> Ending:
        code, cause = recorded_end(run_uri)
        if state == "CANCELED":
            return Ending(self.run, state, ExitCode.INFRASTRUCTURE, "the run was canceled")
        if state == "SUCCEEDED":
            # The last step fails unless the run passed, so that a success without a record is one all the same.
            return Ending(self.run, state, ExitCode.OK if code is None else code, cause)
        failed = _first_failed(run)
        if code is None or code is ExitCode.OK:
            said = failed.error.message if failed is not None and failed.error else None
            where = failed.display_name if failed is not None else "the run"
            cause, code = f"{where}: {said or f'{state}, and KFP says no more'}", ExitCode.INFRASTRUCTURE
        return Ending(self.run, state, code, cause, self._log_of(failed) if code is ExitCode.INFRASTRUCTURE else None)

    def _log_of(self, task: Any) -> str | None:
        """Return the end of a failed pod's log; that it is gone must not hide how the run ended."""
        if task is None or not task.pod_name:
            return None
        try:
            lines = self.server.log(self.run, task.pod_name).splitlines()
        except InfrastructureError as error:
            return f"  (its log cannot be read: {error})"
        return "\n".join(f"  {line}" for line in lines[-LOG_LINES:])


def _tasks(run: V2beta1Run) -> Iterator[Any]:
    details = run.run_details
    yield from (details.task_details or []) if details else []


def _first_failed(run: V2beta1Run) -> Any:
    """Return the task that failed first, one with a pod before the groups that failed with it; None if none says so."""
    failed = [task for task in _tasks(run) if task.state == "FAILED"]
    ranked = sorted(failed, key=lambda task: (not task.pod_name, bool(task.child_tasks), str(task.end_time or "~")))
    return ranked[0] if ranked else None


def recorded_end(run_uri: str) -> tuple[ExitCode | None, str | None]:
    """Return what the run itself recorded, if its store can be read from here."""
    try:
        found = read_files(run_uri, [ERROR_FILE, CONCLUSION_FILE])
    except InfrastructureError:
        return None, None
    with tempfile.TemporaryDirectory() as folder:
        for name, data in found.items():
            (Path(folder) / name).write_bytes(data)
        return recorded_code(Path(folder)), recorded_cause(Path(folder))
