"""Options that several subcommands share, each described once, and how their results are printed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from sextant_plan.errors import UsageError

Function = TypeVar("Function", bound=Callable[..., Any])

DEFAULT_HOME = Path(".sextant")


def home_option(function: Function) -> Function:
    """Add `--home`, the folder of runs, registry, features and bundles."""
    option = click.option(
        "--home",
        type=click.Path(path_type=Path, file_okay=False),
        default=DEFAULT_HOME,
        show_default=True,
        envvar="SEXTANT_HOME",
        show_envvar=True,
        help="Folder of the runs, the registry, the features and the bundles.",
    )
    return option(function)


def examples_option(function: Function) -> Function:
    """Add `--examples`, the folder of the example plans, for the commands that tell a story with them."""
    option = click.option(
        "--examples",
        type=click.Path(path_type=Path, file_okay=False, exists=True),
        default=Path("examples"),
        show_default=True,
        help="Folder of the example plans.",
    )
    return option(function)


def require_new(folder: Path, *, option: str, what: str) -> None:
    """Raise UsageError if there is something at `folder`, in which `what` is to happen."""
    if folder.exists():
        raise UsageError(f"{folder}: {what} a new folder. Remove this one or give another {option}.")


def json_option(function: Function) -> Function:
    """Add `--json`, which replaces the text on standard output by one JSON document."""
    option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")
    return option(function)


def plan_argument(function: Function) -> Function:
    """Add the plan file as the argument `plan_path`; a file that is absent is a usage error."""
    argument = click.argument(
        "plan_path",
        metavar="PLAN",
        type=click.Path(path_type=Path, dir_okay=False),
        default="plan.yaml",
        callback=_existing_plan,
    )
    return argument(function)


def pipeline_option(function: Function) -> Function:
    """Add `--pipeline`, which of the four pipelines to run."""
    option = click.option(
        "--pipeline",
        # The names of sextant_components.runs.context.PIPELINES.
        type=click.Choice(["lifecycle", "retrain", "ingest", "monitor"]),
        default="lifecycle",
        show_default=True,
        help="Pipeline to run.",
    )
    return option(function)


def window_option(function: Function) -> Function:
    """Add `--window`, the span of time that a retraining answers to or a monitoring pass judges."""
    option = click.option(
        "--window",
        metavar="START/END",
        help="ISO 8601 interval: for retrain the window that failed (required), for monitor the one to judge "
        "(default: the plan's last whole window, and for quality the last one whose labels are due).",
    )
    return option(function)


def window_of(pipeline: str, window: str | None) -> str:
    """Return the pipeline's window as its parameter takes it, empty for none. Raises UsageError."""
    from sextant_monitoring.launcher import TimeWindow

    if window is not None and pipeline in {"lifecycle", "ingest"}:
        raise UsageError(f"--window goes with --pipeline retrain or monitor; {pipeline} answers to no window.")
    if window is None and pipeline == "retrain":
        raise UsageError("--pipeline retrain needs --window START/END, the window whose verdict calls for it.")
    return str(TimeWindow.parse(window)) if window is not None else ""


def _existing_plan(_context: click.Context, _parameter: click.Parameter, path: Path) -> Path:
    if not path.exists():
        raise UsageError(f"{path}: the plan does not exist. Name another, or write one: sextant init DATA -o {path}.")
    return path


def print_json(value: Any) -> None:
    """Print one JSON document to standard output."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))
