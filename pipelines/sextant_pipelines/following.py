"""Follows a run on Kubeflow Pipelines to its end and says how it ended: verdict, cause, and the log of what failed."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from sextant_components.closing.conclude import CONCLUSION_FILE
from sextant_components.runs.context import Step
from sextant_components.runs.outcome import ERROR_FILE
from sextant_pipelines.cluster_profile import STEP_NAMES
from sextant_pipelines.kfp_server import KfpServer, ServerRefused, ServerUnreachable
from sextant_pipelines.local import recorded_cause, recorded_code
from sextant_pipelines.run_store import read_files
from sextant_plan.errors import ExitCode, InfrastructureError
from sextant_plan.verdicts import Verdict

if TYPE_CHECKING:
    from kfp_server_api import V2beta1Run

ENDED = frozenset({"SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"})
POLL_SECONDS = 5.0  # a step takes 20 s or more on a cluster
PATIENCE_SECONDS = 120.0  # an API server that is rolled out anew is back well within two minutes
LOG_LINES = 20
SERVER_ERROR = 500
# A backend tells of each node of its workflow: groups, drivers and attempts too, under these names besides the steps'.
STEPS = frozenset(name.replace("_", "-") for name in STEP_NAMES)
EXECUTOR = "executor"
# Argo's templates of a task's container, with and without retries (KFP 2.17, backend/src/v2/compiler/argocompiler).
POD_TEMPLATES = ("retry-system-container-impl", "system-container-impl")


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
        for task in _steps(run):
            if task.state is None:  # left out, since what it waits for failed
                continue
            state = str(task.state)
            if self._shown.get(task.task_id) != state:
                self._shown[task.task_id] = state
                self.out.write(f"{state.lower():10} {task.display_name}\n")
        self.out.flush()

    def _judge(self, run: V2beta1Run, state: str, run_uri: str) -> Ending:
        code, cause = recorded_end(run_uri)
        if _was_canceled(run, state):
            return Ending(self.run, "CANCELED", ExitCode.INFRASTRUCTURE, "the run was canceled")
        if state == "SUCCEEDED":
            # The last step fails unless the run passed, so that a success without a record is one all the same.
            return Ending(self.run, state, ExitCode.OK if code is None else code, cause)
        failed = _first_failed(run)
        if code is None or code is ExitCode.OK:
            said = failed.error.message if failed is not None and failed.error else None
            where = failed.display_name if failed is not None else "the run"
            cause, code = f"{where}: {said or f'{state}, and KFP says no more'}", ExitCode.INFRASTRUCTURE
        return Ending(self.run, state, code, cause, self._log(run) if code is ExitCode.INFRASTRUCTURE else None)

    def _log(self, run: V2beta1Run) -> str | None:
        """Return the end of the log of the pod that failed first; that it is gone must not hide how the run ended."""
        unread = None
        for pod in _failed_pods(run):
            try:
                lines = self.server.log(self.run, pod).splitlines()
            except InfrastructureError as error:
                unread = unread or f"  (its log cannot be read: {error})"
            else:
                return "\n".join(f"  {line}" for line in lines[-LOG_LINES:])
        return unread


def _tasks(run: V2beta1Run) -> Iterator[Any]:
    details = run.run_details
    yield from (details.task_details or []) if details else []


def _steps(run: V2beta1Run) -> Iterator[Any]:
    return (task for task in _tasks(run) if task.display_name in STEPS)


def _was_canceled(run: V2beta1Run, state: str) -> bool:
    """Tell whether somebody ended the run: KFP 2.17 calls it FAILED then, because its exit step still succeeds."""
    earlier = {str(each.state) for each in run.state_history or []}
    return state == "CANCELED" or (state != "SUCCEEDED" and "CANCELING" in earlier)


def _failed(tasks: Iterable[Any]) -> list[Any]:
    """Return the tasks that failed, the first to end before the others."""
    return sorted((task for task in tasks if task.state == "FAILED"), key=lambda task: str(task.end_time or "~"))


def _first_failed(run: V2beta1Run) -> Any:
    """Return the step that failed first, None if none says so."""
    return next(iter(_failed(_steps(run))), None)


def _failed_pods(run: V2beta1Run) -> Iterator[str]:
    """Yield by what names the log of the first failed attempt may be found, the likeliest first.

    The attempts of a failed executor are told by Argo's ids of their nodes. An archived log has the node's name; the
    log of a pod that is still there has the pod's, in which the template's name stands before the number.
    """
    for task in _failed(task for task in _tasks(run) if task.display_name == EXECUTOR):
        for node in reversed([child.pod_name for child in task.child_tasks or [] if child.pod_name]):
            workflow, _, number = node.rpartition("-")
            yield node
            yield from (f"{workflow}-{template}-{number}" for template in POD_TEMPLATES)
        return


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


def awaits_traffic(run_uri: str) -> bool:
    """Tell whether a run that ended `unknown` lacks traffic alone: the gates have passed, and its version is staged."""
    try:
        found = read_files(run_uri, [CONCLUSION_FILE])
    except InfrastructureError:
        return False
    steps = json.loads(found.get(CONCLUSION_FILE, b"{}")).get("steps", {})
    return bool(steps.get(Step.ROLL_OUT) == Verdict.UNKNOWN and steps.get(Step.DECIDE) == Verdict.PASS)
