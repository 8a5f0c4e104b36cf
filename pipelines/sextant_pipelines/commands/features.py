"""`sextant features`: the online store between two runs."""

from __future__ import annotations

from pathlib import Path

import click

from sextant_pipelines.options import home_option, json_option, plan_argument, print_json


@click.group("features")
def command() -> None:
    """Keep the features that servers look up as fresh as their sources."""


@command.command("load")
@plan_argument
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="What a relative data.source is relative to; the plan's folder unless given.",
)
@home_option
@json_option
def load(*, plan_path: Path, data: Path | None, home: Path, as_json: bool) -> None:
    """Load what has changed in PLAN's feature tables into the online store, as a run does before it trains.

    Waits for a run that is loading at the moment. A store that was emptied is filled again.
    """
    from sextant_components.data.features.prepare_features import load_features
    from sextant_plan.loading import load_plan

    plan = load_plan(plan_path)
    newest = load_features(plan, plan_dir=data or plan_path.resolve().parent, home=home)
    texts = {view: at.isoformat() if at else None for view, at in newest.items()}
    if as_json:
        print_json(texts)
        return
    for view, at in texts.items():
        click.echo(f"{view:20} newest event {at or 'none'}")
