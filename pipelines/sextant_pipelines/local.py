"""Runs a pipeline on this machine: KFP's local runner in a child process, progress and causes in this one."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from sextant_components.closing.conclude import CONCLUSION_FILE
from sextant_components.closing.dossier import DOSSIER_FILE
from sextant_components.runs.context import PipelineName, RunContext, create_run, open_run
from sextant_components.runs.outcome import ERROR_FILE, read_error
from sextant_pipelines.progress import Progress
from sextant_plan.errors import ExitCode, UsageError, gravest
from sextant_plan.files import LockHeld, locked
from sextant_plan.loading import load_plan, plan_hash

LOG_FILE = "run.log"
POLL_SECONDS = 0.2  # a reader sees no lag, and reading a dozen small files costs under 1 % of a core
TAIL_LINES = 5
_RUN_ID = re.compile(r"^[a-z0-9]([a-z0-9._-]{0,78}[a-z0-9])?$")


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its exit code, why if a step raised, and how long it took."""

    context: RunContext
    code: ExitCode
    cause: str | None
    seconds: float

    @property
    def dossier(self) -> Path | None:
        """The dossier, or None if not even that could be written."""
        path = self.context.run / DOSSIER_FILE
        return path if path.exists() else None


def prepare_run(
    plan_path: Path, home: Path, run_id: str | None, pipeline: PipelineName = "lifecycle", *, wider: bool = False
) -> RunContext:
    """Lay out a new run, or open the one of this id that was killed or broke down, to run it again as new attempts.

    Raises PlanError; UsageError if the id is malformed, or the run has a verdict or belongs to another plan.
    """
    run_id = checked_run_id(run_id) if run_id else new_run_id(plan_path)
    run = (home / "runs" / run_id).resolve()
    for taboo in ("python3", "{{$"):
        # KFP's local runner rewrites both in every value that a step gets (docs/adr/0003).
        if taboo in str(run):
            raise UsageError(f"{run}: the local runner cannot use a path with {taboo!r}. Give another --home.")
    if not run.exists():
        return create_run(run, run_id=run_id, plan_path=plan_path, home=home, pipeline=pipeline, wider=wider)
    return _reopen(run, plan_path, pipeline)


def new_run_id(plan_path: Path) -> str:
    """Return a run id of the plan's name, the time and this process. Raises PlanError."""
    return f"{load_plan(plan_path).name}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid() % 10000:04d}"


def checked_run_id(run_id: str) -> str:
    """Return the id if a folder, a pod and an MLflow run can be named by it; raises UsageError."""
    if not _RUN_ID.match(run_id):
        raise UsageError(f"{run_id!r} is no run id. Use up to 80 of a-z, 0-9, '.', '_' and '-'.")
    return run_id


def _reopen(run: Path, plan_path: Path, pipeline: PipelineName) -> RunContext:
    context = open_run(str(run))
    if context.pipeline != pipeline:
        raise UsageError(f"{run}: this is a run of the {context.pipeline} pipeline. Choose a new --run-id.")
    if recorded_code(run) in {ExitCode.OK, ExitCode.GATE_FAILED, ExitCode.GATE_UNKNOWN}:
        raise UsageError(f"{run}: this run has its verdict. Leave --run-id out, or choose a new one.")
    if plan_hash(load_plan(plan_path)) != context.plan_hash:
        raise UsageError(f"{run}: this run was started with another plan. Choose a new --run-id for {plan_path}.")
    for leftover in (ERROR_FILE, CONCLUSION_FILE, DOSSIER_FILE):
        (run / leftover).unlink(missing_ok=True)
    return context


def run_locally(context: RunContext, progress_to: TextIO, *, window: str = "") -> Outcome:
    """Run a prepared run's pipeline and return how it ended; a verdict is not an exception.

    `window` is the pipeline's parameter of that name, as text, for those that have one.

    Raises UsageError if another process is running it. KeyboardInterrupt stops every process of the run.
    """
    began = time.monotonic()
    with held(context.run), _child(context, window) as process:
        progress = Progress(context.run, progress_to)
        while process.poll() is None:
            progress.update()
            time.sleep(POLL_SECONDS)
        progress.close()
    code, cause = _judge(context.run, process.returncode)
    return Outcome(context, code, cause, time.monotonic() - began)


@contextmanager
def held(run: Path) -> Iterator[None]:
    """Hold the run's lock, so that two processes never write the same run. Raises UsageError if another has it."""
    try:
        with locked(run / ".lock", seconds=0):
            yield
    except LockHeld as error:
        raise UsageError(f"{run}: another process runs it already. Wait, or leave --run-id out.") from error


@contextmanager
def _child(context: RunContext, window: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start the KFP process in a group of its own, output to run.log; kill the whole group on the way out."""
    command = [sys.executable, "-m", "sextant_pipelines.kfp_child", context.pipeline]
    command += [f"run_uri={context.run}", f"run_id={context.run_id}"] + ([f"window={window}"] if window else [])
    with (context.run / LOG_FILE).open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdin is not None
        process.stdin.close()


def recorded_code(run: Path) -> ExitCode | None:
    """Return the exit code that a run's own files call for, or None if it neither concluded nor raised."""
    codes = []
    error = read_error(run)
    if error is not None:
        codes.append(error.exit_code)
    conclusion = run / CONCLUSION_FILE
    if conclusion.exists():
        codes.append(ExitCode(json.loads(conclusion.read_bytes())["exit_code"]))
    return gravest(codes)


def _judge(run: Path, returncode: int) -> tuple[ExitCode, str | None]:
    """Return the run's exit code and, if something went wrong rather than unproved, the cause."""
    code = recorded_code(run)
    if code is None or (code is ExitCode.OK and returncode != 0):
        where = f"the end of {run / LOG_FILE}"
        return ExitCode.INFRASTRUCTURE, f"the pipeline broke off (exit {returncode}); {where}:\n{_tail(run)}"
    return code, recorded_cause(run)


def recorded_cause(run: Path) -> str | None:
    """Return which step raised and why, or None if no step raised."""
    error = read_error(run)
    return error.sentence if error is not None else None


def _tail(run: Path) -> str:
    text = re.sub(r"\x1b\[[0-9;]*m", "", (run / LOG_FILE).read_text(encoding="utf-8", errors="replace"))
    lines = [line for line in text.splitlines() if line.strip(" -")]
    return "\n".join(f"  {line.strip()}" for line in lines[-TAIL_LINES:])
