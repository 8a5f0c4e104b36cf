"""`sextant submit`: a pipeline on Kubeflow Pipelines, once or by a schedule."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sextant_pipelines.options import json_option, pipeline_option, plan_argument, print_json, window_of, window_option
from sextant_plan.errors import UsageError

if TYPE_CHECKING:
    from sextant_components.runs.context import PipelineName
    from sextant_pipelines.following import Ending
    from sextant_pipelines.kfp_server import KfpServer
    from sextant_pipelines.submission import Submission


@click.command("submit")
@plan_argument
@click.option(
    "--profile",
    "profile_path",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    required=True,
    help="The cluster's profile: images, run store, volumes, secrets, resources (docs/how-to/pipelines.md).",
)
@pipeline_option
@window_option
@click.option("--run-id", help="Name of the run or the schedule. Default: plan name, time, process.")
@click.option(
    "--host",
    envvar="KF_PIPELINES_ENDPOINT",
    show_envvar=True,
    default="http://127.0.0.1:8888",
    show_default=True,
    help="Address of the KFP API server.",
)
@click.option("--namespace", default="", help="Your namespace, in a deployment for many users.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    envvar="KF_PIPELINES_SA_TOKEN_PATH",
    show_envvar=True,
    help="File of the bearer token; it is read anew for each request.",
)
@click.option("--ca-file", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="CA of the API server.")
@click.option("--schedule", "cron", metavar="CRON", help="Run by this schedule: six fields, seconds first, UTC.")
@click.option("--resume", metavar="KFP_RUN", help="Follow this run of KFP; if it failed, start its failed steps again.")
@click.option("--timeout", type=click.FloatRange(min=1), help="Seconds to follow the run. Default: to its end.")
@click.option("--detach", is_flag=True, help="Return once the run is started.")
@click.option("--dry-run", is_flag=True, help="Check everything and show it; neither store nor server is touched.")
@click.option(
    "--kubernetes-manifest", is_flag=True, help="Print the Pipeline and PipelineVersion objects instead of submitting."
)
@json_option
def command(
    *,
    plan_path: Path,
    profile_path: Path,
    pipeline: PipelineName,
    window: str | None,
    run_id: str | None,
    host: str,
    namespace: str,
    token_file: Path | None,
    ca_file: Path | None,
    cron: str | None,
    resume: str | None,
    timeout: float | None,
    detach: bool,
    dry_run: bool,
    kubernetes_manifest: bool,
    as_json: bool,
) -> int:
    """Run PLAN (default plan.yaml) on Kubeflow Pipelines and follow it to its end.

    Progress goes to standard error. Exits as `sextant run` does: 0 passed, 1 a gate failed, 2 usage or plan,
    3 a gate is unknown, 4 if the run crashed, was canceled, or still goes on after --timeout.
    """
    from sextant_pipelines.cluster_profile import load_profile
    from sextant_pipelines.kfp_server import KfpServer
    from sextant_pipelines.local import new_run_id
    from sextant_pipelines.submission import kubernetes_manifest as manifest_of
    from sextant_pipelines.submission import prepare

    profile = load_profile(profile_path)
    if not host.startswith(("http://", "https://")):
        raise UsageError(f"--host {host}: this is no address. It begins with http:// or https://.")
    if resume is not None and (cron is not None or run_id is None):
        raise UsageError("--resume needs the --run-id that the run was submitted with, and goes without --schedule.")
    asked_for = window_of(pipeline, window)
    name = run_id or new_run_id(plan_path)
    submission = prepare(plan_path, profile, name=pipeline, run_id=name, window=asked_for, cron=cron)
    if submission.warning:
        click.echo(f"warning: {submission.warning}", err=True)
    if kubernetes_manifest:
        click.echo(manifest_of(submission.package, namespace), nl=False)
        return 0
    if dry_run:
        print_json(_described(submission, host))
        return 0
    server = KfpServer(host, namespace, token_file, ca_file)
    return _submit(server, submission, resume=resume, timeout=timeout, detach=detach, as_json=as_json)


def _submit(
    server: KfpServer,
    submission: Submission,
    *,
    resume: str | None,
    timeout: float | None,
    detach: bool,
    as_json: bool,
) -> int:
    from sextant_pipelines.following import Follower
    from sextant_pipelines.submission import check_server, start

    check_server(server)
    if resume is not None:
        if str(server.run(resume).state) == "FAILED":
            server.retry(resume)
        run = resume
    else:
        run = start(server, submission)
    click.echo(f"{'schedule' if submission.cron else 'run'} {run}, {submission.run_uri}", err=True)
    if detach or submission.cron:
        if as_json:
            print_json({"id": run, "run_uri": submission.run_uri})
        else:
            click.echo(run)
        return 0
    return _report(Follower(server, run, sys.stderr).follow(submission.run_uri, timeout=timeout), submission, as_json)


def _report(ending: Ending, submission: Submission, as_json: bool) -> int:
    if as_json:
        print_json({**vars(ending), "code": int(ending.code), "run_uri": submission.run_uri})
        return int(ending.code)
    click.echo(f"{ending.state.lower()}  {submission.run_uri}/dossier.html")
    for text in (ending.cause, ending.log):
        if text:
            click.echo(text, err=True)
    return int(ending.code)


def _described(submission: Submission, host: str) -> dict[str, object]:
    return {
        "host": host,
        "experiment": submission.experiment,
        "pipeline": submission.package.name,
        "version": submission.package.version,
        "arguments": submission.settings.arguments,
        "pipeline_root": submission.settings.pipeline_root,
        "service_account": submission.settings.service_account,
        "schedule": submission.cron,
    }
