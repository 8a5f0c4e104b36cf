"""`sextant render`: files for a cluster or a monitor, written from the code and the plan."""

from __future__ import annotations

import os
import re
from pathlib import Path

import click

from sextant_plan.errors import UsageError


@click.group("render")
def command() -> None:
    """Write what a cluster or a monitor needs: pipeline, components, rules, dashboard."""


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


plan_argument = click.argument("plan", type=click.Path(path_type=Path, dir_okay=False))


@command.command("rules")
@plan_argument
@output_option
def rules(plan: Path, output: Path | None) -> int:
    """Write the plan's recording and alert rules for Prometheus (YAML)."""
    from sextant_monitoring.rules_file import render_rules
    from sextant_plan.loading import load_plan

    _write(render_rules(load_plan(plan)), output)
    return 0


@command.command("dashboard")
@plan_argument
@output_option
def dashboard(plan: Path, output: Path | None) -> int:
    """Write the plan's overview board for Grafana (JSON)."""
    from sextant_monitoring.dashboards import render_dashboard
    from sextant_plan.loading import load_plan

    _write(render_dashboard(load_plan(plan)), output)
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
