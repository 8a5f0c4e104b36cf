"""`sextant render`: files for a cluster or a monitor, written from the code and the plan."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sextant_pipelines.options import json_option, pipeline_option, plan_argument
from sextant_plan.errors import UsageError

if TYPE_CHECKING:
    from sextant_components.runs.context import PipelineName


@click.group("render")
def command() -> None:
    """Write what a cluster or a monitor needs: pipeline, components, rules, dashboard, criteria, schema, an SBOM."""


output_option = click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write. Default: standard output.",
)

image_option = click.option(
    "--image",
    "images",
    multiple=True,
    metavar="EXTRA=IMAGE",
    help="Image of an extra, such as train=registry.example/sextant-train@sha256:…; repeatable. "
    "Default: sextant-EXTRA:VERSION.",
)


@command.command("pipeline")
@output_option
@pipeline_option
@click.option(
    "--profile",
    "profile_path",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Write in a cluster's images, resources, secrets and volumes, as sextant submit does.",
)
@image_option
def pipeline(output: Path | None, pipeline: PipelineName, profile_path: Path | None, images: tuple[str, ...]) -> int:
    """Write a pipeline as KFP's intermediate representation (YAML)."""
    if profile_path is not None and images:
        raise UsageError("--image: the profile names the images. Give one of the two.")
    _pin(images)
    from sextant_pipelines.cluster_profile import load_profile
    from sextant_pipelines.compile import compiled
    from sextant_pipelines.submission import package_for

    text = package_for(pipeline, load_profile(profile_path)).text if profile_path else compiled(pipeline)
    _write(text, output)
    return 0


@command.command("components")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder to write one file a step into.",
)
@image_option
def components(output: Path, images: tuple[str, ...]) -> int:
    """Write each step as a KFP component (YAML)."""
    _pin(images)
    from sextant_pipelines import steps
    from sextant_pipelines.compile import STEPS, compile_component

    for name in STEPS:
        _write(compile_component(getattr(steps, name)), output / f"{name}.yaml")
    return 0


@command.command("rules")
@plan_argument
@click.option("--kubernetes", is_flag=True, help="As a PrometheusRule object of the Prometheus operator.")
@output_option
def rules(plan_path: Path, kubernetes: bool, output: Path | None) -> int:
    """Write the plan's recording and alert rules for Prometheus (YAML)."""
    from sextant_monitoring.prometheus_rule import render_prometheus_rule
    from sextant_monitoring.rules_file import render_rules
    from sextant_plan.loading import load_plan

    render = render_prometheus_rule if kubernetes else render_rules
    _write(render(load_plan(plan_path)), output)
    return 0


@command.command("alertmanager")
@plan_argument
@output_option
def alertmanager(plan_path: Path, output: Path | None) -> int:
    """Write Alertmanager's configuration: who hears of which alert (YAML). Receivers are monitoring.notify."""
    from sextant_monitoring.alertmanager import render_alertmanager
    from sextant_plan.loading import load_plan

    _write(render_alertmanager(load_plan(plan_path)), output)
    return 0


@command.command("dashboards")
@plan_argument
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder to write one file a board into, and Grafana's provisioning beside them.",
)
def dashboards(plan_path: Path, output: Path) -> int:
    """Write the plan's boards for Grafana (JSON) with the files that provision them."""
    from sextant_monitoring.boards import render_boards
    from sextant_monitoring.provisioning import render_provisioning
    from sextant_plan.loading import load_plan

    files = {**render_boards(load_plan(plan_path)), **render_provisioning()}
    for name, text in files.items():
        _write(text, output / name)
    return 0


@command.command("values")
@plan_argument
@output_option
def values(plan_path: Path, output: Path | None) -> int:
    """Write the values with which charts/sextant serves, watches and retrains PLAN's model (YAML).

    Warns of what the plan asks for and a cluster does without.
    """
    from sextant_pipelines.chart_values import pod_warnings, render_values
    from sextant_plan.loading import load_plan

    for warning in pod_warnings(load_plan(plan_path)):
        click.echo(f"warning: {warning}", err=True)
    _write(render_values(plan_path), output)
    return 0


@command.command("preview")
@plan_argument
@click.option("--prometheus", required=True, metavar="URL", help="Prometheus that has the plan's series.")
@click.option("--board", "name", default="overview", show_default=True, help="Name of the board, such as drift.")
@click.option("--hours", type=click.FloatRange(min=0.01), default=6.0, show_default=True, help="How far to look back.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="PNG file to write."
)
def preview(plan_path: Path, prometheus: str, name: str, hours: float, output: Path) -> int:
    """Draw one of the plan's boards as a picture, from the queries that Grafana would run."""
    from sextant_monitoring.boards import boards
    from sextant_monitoring.preview import draw_board
    from sextant_plan.loading import load_plan

    known = {board.name: board for board in boards(load_plan(plan_path))}
    if name not in known:
        raise UsageError(f"--board {name}: there is no such board. Choose from: {', '.join(known)}.")
    now = time.time()
    output.parent.mkdir(parents=True, exist_ok=True)
    draw_board(known[name], prometheus.rstrip("/"), output, start=now - 3600 * hours, end=now)
    click.echo(str(output), err=True)
    return 0


@command.command("criteria")
@plan_argument
@output_option
@json_option
def criteria(plan_path: Path, output: Path | None, as_json: bool) -> int:
    """Show how each criterion of PLAN is held: its gate, canary test, Prometheus rule and retrain trigger."""
    from sextant_pipelines.enforcement_text import enforcement_text
    from sextant_plan.enforcements import enforced_criteria
    from sextant_plan.loading import load_plan

    found = enforced_criteria(load_plan(plan_path))
    if as_json:
        _write(json.dumps([each.as_json() for each in found], indent=2, ensure_ascii=False) + "\n", output)
    else:
        _write(enforcement_text(found), output)
    return 0


@command.command("schema")
@output_option
def schema(output: Path | None) -> int:
    """Write the JSON Schema of a plan, by which an editor completes and checks plan.yaml."""
    from sextant_plan.pages import plan_json_schema

    _write(plan_json_schema(), output)
    return 0


@command.command("train-job")
@plan_argument
@click.option("--nodes", type=click.IntRange(min=1), default=1, show_default=True, help="Machines of the team.")
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes on each, one a GPU where serving.hardware.gpu is set.",
)
@click.option("--claim", required=True, help="PersistentVolumeClaim (ReadWriteMany) that holds the folders below.")
@click.option("--run", "run_folder", required=True, help="The run's folder on that volume.")
@click.option("--snapshot", required=True, help="Folder of the ingest step's output on that volume.")
@click.option("--splits", required=True, help="Folder of the prepare step's output on that volume.")
@click.option("--model", required=True, help="Folder on that volume to write the model into.")
@image_option
@output_option
def train_job(
    *,
    plan_path: Path,
    nodes: int,
    processes: int,
    claim: str,
    run_folder: str,
    snapshot: str,
    splits: str,
    model: str,
    images: tuple[str, ...],
    output: Path | None,
) -> int:
    """Write the train step as a TrainJob of Kubeflow Trainer: several processes that fit each network together."""
    _pin(images)
    from sextant_pipelines.images import image_of
    from sextant_pipelines.train_job import Placement, render_train_job
    from sextant_plan.loading import load_plan

    placement = Placement(nodes, processes, claim, run_folder, snapshot, splits, model)
    _write(render_train_job(load_plan(plan_path), placement, image=image_of("train")), output)
    return 0


@command.command("sbom")
@click.argument("lock", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--name", help="The image. Default: sextant- and the lock's name.")
@click.option(
    "--debian",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The image's Debian packages, as `dpkg-query -W -f '${Package}\\t${Version}\\n'` writes them.",
)
@output_option
def sbom(lock: Path, name: str | None, debian: Path | None, output: Path | None) -> int:
    """Write the bill of materials (CycloneDX) of the image that is built from LOCK, such as requirements/serve.txt."""
    from sextant_pipelines.bill import bill_of_materials

    _write(bill_of_materials(name or f"sextant-{lock.stem}", lock, debian), output)
    return 0


def _pin(images: tuple[str, ...]) -> None:
    """Set the variables that `sextant_pipelines.images` reads; call it before the steps are imported."""
    from sextant_pipelines.images import variable_of

    for image in images:
        extra, equals, name = image.partition("=")
        if not equals or not re.fullmatch(r"serve|train|cluster", extra) or not name:
            raise UsageError(f"--image {image}: write EXTRA=IMAGE with serve, train or cluster as EXTRA.")
        os.environ[variable_of(extra)] = name


def _write(text: str, output: Path | None) -> None:
    if output is None:
        click.echo(text, nl=False)
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text, encoding="utf-8")
    click.echo(str(output), err=True)


@command.command("search-job")
@plan_argument
@click.option("--pods", type=click.IntRange(min=1), default=2, show_default=True, help="Helpers of the train step.")
@click.option("--secret", required=True, help="Secret whose key url is the study's PostgreSQL address.")
@click.option("--claim", required=True, help="PersistentVolumeClaim (ReadWriteMany) that holds the folders below.")
@click.option("--run", "run_folder", required=True, help="The run's folder on that volume.")
@click.option("--snapshot", required=True, help="Folder of the ingest step's output on that volume.")
@click.option("--splits", required=True, help="Folder of the prepare step's output on that volume.")
@image_option
@output_option
def search_job(
    *,
    plan_path: Path,
    pods: int,
    secret: str,
    claim: str,
    run_folder: str,
    snapshot: str,
    splits: str,
    images: tuple[str, ...],
    output: Path | None,
) -> int:
    """Write pods that make trials of the train step's search as an indexed Job: one study, shared in PostgreSQL."""
    _pin(images)
    from sextant_pipelines.images import image_of
    from sextant_pipelines.search_job import Helpers, render_search_job
    from sextant_plan.loading import load_plan

    helpers = Helpers(pods, secret, claim, run_folder, snapshot, splits)
    _write(render_search_job(load_plan(plan_path), helpers, image=image_of("train")), output)
    return 0
