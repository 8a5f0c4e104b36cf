"""`sextant run`: a pipeline on this machine, by default the whole life cycle."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sextant_pipelines.options import (
    home_option,
    json_option,
    pipeline_option,
    plan_argument,
    print_json,
    window_of,
    window_option,
)

if TYPE_CHECKING:
    from sextant_components.runs.context import PipelineName
    from sextant_pipelines.local import Outcome


@click.command("run")
@plan_argument
@home_option
@click.option(
    "--run-id",
    help="Name of the run's folder; an unfinished run of this id is run again. Default: plan name, time, process.",
)
@pipeline_option
@window_option
@click.option("--wider", is_flag=True, help="Let model.wider_candidates of the plan compete as well.")
@json_option
def command(
    *,
    plan_path: Path,
    home: Path,
    run_id: str | None,
    pipeline: PipelineName,
    window: str | None,
    wider: bool,
    as_json: bool,
) -> int:
    """Run PLAN (default plan.yaml) through all eleven steps and put the model in service if every gate passes.

    The retrain pipeline begins with ingest, because of a window that failed; ingest takes and verifies a new snapshot
    alone; monitor judges one window of logged traffic.

    Progress goes to standard error, the verdicts to standard output. Exits 0 passed, 1 a gate failed,
    2 the plan or the data is wrong, 3 a gate is unknown, 4 the machine or a server failed.
    """
    from sextant_pipelines.local import prepare_run, run_locally
    from sextant_plan.loading import load_plan
    from sextant_serving.architectures import needs

    load_plan(plan_path, architectures=needs())
    asked_for = window_of(pipeline, window)
    context = prepare_run(plan_path, home, run_id, pipeline, wider=wider)
    click.echo(f"run {context.run_id}, plan {context.plan_hash[:19]}, log {context.run / 'run.log'}", err=True)
    outcome = run_locally(context, sys.stderr, window=asked_for)
    if as_json:
        print_json(_as_json(outcome))
    else:
        _print(outcome, plan_path)
    if outcome.cause:
        click.echo(outcome.cause, err=True)
    return int(outcome.code)


def _as_json(outcome: Outcome) -> dict[str, object]:
    from sextant_pipelines.criteria import criterion_results, open_checks, step_results

    return {
        "run": str(outcome.context.run),
        "run_id": outcome.context.run_id,
        "pipeline": outcome.context.pipeline,
        "plan_hash": outcome.context.plan_hash,
        "exit_code": int(outcome.code),
        "cause": outcome.cause,
        "seconds": round(outcome.seconds, 1),
        "dossier": str(outcome.dossier) if outcome.dossier else None,
        "criteria": [result.as_json() for result in criterion_results(outcome.context)],
        "checks": [vars(result) for result in open_checks(outcome.context)],
        "steps": [vars(result) for result in step_results(outcome.context)],
    }


def _print(outcome: Outcome, plan_path: Path) -> None:
    from sextant_pipelines.criteria import criterion_results, open_checks

    for result in criterion_results(outcome.context):
        click.echo(result.line)
    for check in open_checks(outcome.context):
        click.echo(check.line)
    click.echo(f"dossier  {outcome.dossier or 'could not be written; see run.log'}")
    click.echo(f"next     {_next_step(outcome, plan_path)}")


def _next_step(outcome: Outcome, plan_path: Path) -> str:
    run, home, plan = (shlex.quote(str(path)) for path in (outcome.context.run, outcome.context.home, plan_path))
    again = f"sextant run {plan} --home {home} --pipeline {outcome.context.pipeline}"
    read_only = outcome.context.pipeline in {"monitor", "ingest"}
    return {
        0: f"sextant report {run}" if read_only else f"sextant serve --home {home}",
        1: f"read why in the dossier; sextant report {run} lists the steps",
        2: "mend what is named below, then run again",
        3: f"gather the evidence that is missing; sextant report {run} lists the steps",
        4: f"mend what is named below, then {again} --run-id {outcome.context.run_id}, or without the id for a new run",
    }[int(outcome.code)]
