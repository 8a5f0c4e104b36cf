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

from sextant_components.context import RunContext, Step, open_run
from sextant_components.outcome import ERROR_FILE, StepError
from sextant_plan.errors import ExitCode, SextantError, UsageError
from sextant_plan.ledger import END_TASK, read_run
from sextant_plan.verdicts import Verdict, exit_code, worst


class RunNotPassed(SextantError):
    """The run came to its end, and its verdict is not `pass`; this is what fails the pipeline."""

    def __init__(self, run: Path, verdict: Verdict) -> None:
        super().__init__(f"{run}: the run's verdict is {verdict}. Read dossier.html in that folder for the reasons.")
        self.exit_code = exit_code(verdict)


def run_step(name: str, run_uri: str, *, run_id: str | None = None, **paths: str) -> str:
    """Run one step over local paths and return the run's verdict so far: pass, fail or unknown.

    `paths` are KFP's artifact paths by the step function's parameter names; folders that do not exist are made.
    Raises whatever the step raises, after writing `error.json`; UsageError if `run_id` is not the run's.
    """
    with _cause_kept(name, run_uri):
        context = open_run(run_uri)
        if run_id is not None and run_id != context.run_id:
            raise UsageError(f"{run_uri}: this is run {context.run_id}, not {run_id}. Submit with the run's own id.")
        _step_function(name)(context, **_folders(paths))
        return str(verdict_so_far(context, Step(name)))


def run_register(run_uri: str, *, bundle: str) -> str:
    """Run the register step; return the model's version in the registry."""
    with _cause_kept("register", run_uri):
        return str(_step_function("register")(open_run(run_uri), **_folders({"bundle": bundle})))


def run_roll_out(run_uri: str, *, bundle: str, version: str) -> str:
    """Run the roll-out of a registered version; return the run's verdict so far."""
    with _cause_kept("roll_out", run_uri):
        context = open_run(run_uri)
        _step_function("roll_out")(context, version=version, **_folders({"bundle": bundle}))
        return str(verdict_so_far(context, Step.ROLL_OUT))


def conclude(run_uri: str) -> str:
    """Write the conclusion and return `pass`; raises RunNotPassed for any other verdict."""
    with _cause_kept("conclude", run_uri):
        verdict: Verdict = _step_function("conclude")(open_run(run_uri))
    if verdict is not Verdict.PASS:
        raise RunNotPassed(Path(run_uri), verdict)
    return str(verdict)


def close_run(run_uri: str) -> str:
    """Write the dossier and publish the run to MLflow; return the dossier's path. Runs whatever happened before."""
    with _cause_kept("exit", run_uri):
        from sextant_components.tracking import publish_run

        context = open_run(run_uri)
        dossier = _step_function("dossier")(context)
        publish_run(context)
        return str(dossier)


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
    function: Callable[..., Any] = getattr(importlib.import_module(f"sextant_components.{name}"), f"run_{name}")
    return function


def _folders(paths: dict[str, str]) -> dict[str, Path]:
    folders = {name: Path(path) for name, path in paths.items()}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    return folders


@contextmanager
def _cause_kept(step: str, run_uri: str) -> Iterator[None]:
    """Write `error.json` for an exception that passes through, unless an earlier step's is there already."""
    try:
        yield
    except Exception as error:
        known = isinstance(error, SextantError)
        code = error.exit_code if isinstance(error, SextantError) else ExitCode.INFRASTRUCTURE
        said = StepError(step=step, type=type(error).__name__, known=known, exit_code=code, message=str(error))
        cause = {**said.model_dump(mode="json"), "trace": traceback.format_exc()}
        _write_once(Path(run_uri.removeprefix("file://")) / ERROR_FILE, json.dumps(cause, indent=1) + "\n")
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
