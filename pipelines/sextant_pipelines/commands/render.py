"""`sextant render`: files for a cluster or a monitor, written from the code and the plan."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import click

from sextant_pipelines.options import json_option, plan_argument
from sextant_plan.errors import UsageError


@click.group("render")
def command() -> None:
    """Write what a cluster or a monitor needs: pipeline, components, rules, dashboard, criteria, schema."""


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
@image_option
def pipeline(output: Path | None, images: tuple[str, ...]) -> int:
    """Write the lifecycle pipeline as KFP's intermediate representation (YAML)."""
    _pin(images)
    from sextant_pipelines.compile import compile_component
    from sextant_pipelines.lifecycle import lifecycle

    _write(compile_component(lifecycle), output)
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
