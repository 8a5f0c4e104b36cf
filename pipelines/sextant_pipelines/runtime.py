"""What every KFP component calls: open the run, call one step function, leave the cause of an error behind.

KFP says only that an inner task failed. `error.json` in the run's folder says which step, why, and with which
exit code the run has to end. This module must not define KFP components, because their bodies import it.
"""

from __future__ import annotations

import importlib
import json
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sextant_components.runs.context import RunContext, Step, open_run
from sextant_components.runs.outcome import ERROR_FILE, StepError
from sextant_pipelines.run_store import begin_scheduled, local_copy
from sextant_plan.errors import ExitCode, SextantError, UsageError
from sextant_plan.ledger import END_TASK, read_run
from sextant_plan.verdicts import Verdict, exit_code, worst

# What a step's name calls, by the package that its module lies in.
_STEPS = {
    "planning": ("plan",),
    "data": ("ingest", "verify", "prepare"),
    "modelling": ("train", "optimise"),
    "evaluation": ("evaluate", "decide"),
    "deployment": ("register", "roll_out"),
    "monitoring": ("watch", "monitor"),
    "closing": ("conclude", "dossier"),
}
STEP_MODULES = {name: f"sextant_components.{package}.{name}" for package, names in _STEPS.items() for name in names}


class RunNotPassed(SextantError):
    """The run came to its end, and its verdict is not `pass`; this is what fails the pipeline."""

    def __init__(self, run_uri: str, verdict: Verdict) -> None:
        super().__init__(
            f"{run_uri}: the run's verdict is {verdict}. Read dossier.html in that folder for the reasons."
        )
        self.exit_code = exit_code(verdict)


def run_step(name: str, run_uri: str, *, run_id: str | None = None, **paths: str) -> str:
    """Run one step over local paths and return the run's verdict so far: pass, fail or unknown.

    `paths` are KFP's artifact paths by the step function's parameter names; folders that do not exist are made.
    Raises whatever the step raises, after writing `error.json`; UsageError if `run_id` is not the run's.
    """
    with _opened(name, run_uri, run_id) as context:
        _step_function(name)(context, **_folders(paths))
        return str(verdict_so_far(context, Step(name)))


def run_ingest(run_uri: str, *, run_id: str, window: str, snapshot: str) -> str:
    """Run the ingest step; `run_id` is empty where a step came before, and `window` but in a retraining."""
    from sextant_monitoring.launcher import TimeWindow

    with _opened("ingest", run_uri, run_id or None) as context:
        called_for = TimeWindow.parse(window) if window else None
        _step_function("ingest")(context, window=called_for, **_folders({"snapshot": snapshot}))
        return str(verdict_so_far(context, Step.INGEST))


def run_monitor(run_uri: str, *, run_id: str, window: str) -> str:
    """Judge what the servers logged in a window, by default as the step chooses; return the run's verdict."""
    from sextant_monitoring.launcher import TimeWindow

    with _opened("watch", run_uri, run_id) as context:
        _step_function("monitor")(context, window=TimeWindow.parse(window) if window else None)
        return str(verdict_so_far(context, Step.WATCH))


def run_register(run_uri: str, *, bundle: str) -> str:
    """Run the register step; return the model's version in the registry."""
    with _opened("register", run_uri) as context:
        return str(_step_function("register")(context, **_folders({"bundle": bundle})))


def run_roll_out(run_uri: str, *, bundle: str, version: str) -> str:
    """Run the roll-out of a registered version; return the run's verdict so far."""
    with _opened("roll_out", run_uri) as context:
        _step_function("roll_out")(context, version=version, **_folders({"bundle": bundle}))
        return str(verdict_so_far(context, Step.ROLL_OUT))


def conclude(run_uri: str) -> str:
    """Write the conclusion and return `pass`; raises RunNotPassed for any other verdict."""
    with _opened("conclude", run_uri) as context:
        verdict: Verdict = _step_function("conclude")(context)
    if verdict is not Verdict.PASS:
        raise RunNotPassed(run_uri, verdict)
    return str(verdict)


def close_run(run_uri: str) -> str:
    """Conclude, write the dossier and publish the run to MLflow; return the dossier's address.

    Runs whatever happened before, also where a step that crashed kept `conclude` from running. A conclusion that is
    there is written again from the same ledger.
    """
    from sextant_components.modelling.tracking import publish_run

    with _opened("exit", run_uri) as context:
        _step_function("conclude")(context)
        dossier: Path = _step_function("dossier")(context)
        publish_run(context)
        return f"{run_uri}/{dossier.relative_to(context.run)}"


def verdict_so_far(context: RunContext, last: Step) -> Verdict:
    """Return the worst verdict of the steps up to and including `last`, from their closing records.

    A step that did not finish is `unknown`, so that a stage stands on the proof of all stages before it.
    """
    order = list(Step)
    done = read_run(context.run)
    reached = [step for step in order[: order.index(last) + 1] if step.value in done]
    return worst(_closing_verdict(done[step.value][-1].task, done[step.value][-1].verdict) for step in reached)


def _closing_verdict(task: str, verdict: Verdict) -> Verdict:
    return verdict if task == END_TASK else Verdict.UNKNOWN


def _step_function(name: str) -> Callable[..., Any]:
    function: Callable[..., Any] = getattr(importlib.import_module(STEP_MODULES[name]), f"run_{name}")
    return function


def _folders(paths: dict[str, str]) -> dict[str, Path]:
    folders = {name: Path(path) for name, path in paths.items()}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    return folders


@contextmanager
def _opened(step: str, run_uri: str, run_id: str | None = None) -> Iterator[RunContext]:
    """Open a run, a copy of it if it lies in an object store, and keep the cause of whatever goes wrong within.

    `run_id` is given to a first step alone: a scheduled run is laid out by it. Raises UsageError if it is another's.
    """
    if run_id is not None:
        begin_scheduled(run_uri, run_id)
    with local_copy(run_uri) as folder, _cause_kept(step, Path(folder)):
        context = open_run(folder)
        if run_id is not None and run_id != context.run_id:
            raise UsageError(f"{run_uri}: this is run {context.run_id}, not {run_id}. Submit with the run's own id.")
        yield context


@contextmanager
def _cause_kept(step: str, run: Path) -> Iterator[None]:
    """Write `error.json` for an exception that passes through, unless an earlier step's is there already."""
    try:
        yield
    except Exception as error:
        known = isinstance(error, SextantError)
        code = error.exit_code if isinstance(error, SextantError) else ExitCode.INFRASTRUCTURE
        said = StepError(step=step, type=type(error).__name__, known=known, exit_code=code, message=str(error))
        cause = {**said.model_dump(mode="json"), "trace": traceback.format_exc()}
        _write_once(run / ERROR_FILE, json.dumps(cause, indent=1) + "\n")
        raise


def _write_once(path: Path, text: str) -> None:
    """Write a file whole or not at all; the first writer wins, and a run's folder that is absent is no second error."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8")
        os.link(partial, path)
    except (FileExistsError, FileNotFoundError):
        pass
    finally:
        partial.unlink(missing_ok=True)
