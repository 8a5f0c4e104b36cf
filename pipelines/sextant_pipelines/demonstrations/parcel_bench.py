"""A model of the parcels by their measures alone, trained in a minute, to be served while something happens to it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sextant_pipelines.demonstrations.belt import Parcel, read_parcels
from sextant_plan.errors import InfrastructureError

if TYPE_CHECKING:
    from sextant_plan.promotion import ActiveModel
    from sextant_plan.schema import Plan

ROWS = 2000


@dataclass(frozen=True)
class Bench:
    """Where everything lies: the plan that passed, its data, the model in service and its stores.

    `parcels` begin with the newest, so that a store which was fed shows itself fresh at once.
    """

    folder: Path
    plan: Plan
    active: ActiveModel
    parcels: Sequence[Parcel]


def set_up(folder: Path, plan_text: str) -> Bench:
    """Run the life cycle on sound data; what passes is served to every live fault."""
    from sextant_plan.loading import load_plan
    from sextant_serving.home import served_model

    sound = folder / "sound"
    _lay_out(sound, plan_text)
    done = run_in(sound)
    if done.returncode != 0:
        raise InfrastructureError(f"{sound}: the sound life cycle did not pass: {done.stderr.strip()[-500:]}")
    active = served_model(sound / ".sextant")
    click.echo(f"version {active.version} of sound data is in service", err=True)
    return Bench(folder, load_plan(sound / "plan.yaml"), active, read_parcels(sound / "data")[::-1])


def _lay_out(folder: Path, plan_text: str) -> None:
    """Write plan and data; the newest parcel was measured just now."""
    import polars as pl

    data = folder / "data"
    data.mkdir(parents=True)
    (folder / "plan.yaml").write_text(plan_text, encoding="utf-8")
    subprocess.run(
        [sys.executable, "-m", "sextant_examples.parcels", str(data), "--rows", str(ROWS), "--no-pictures"],
        stdout=subprocess.DEVNULL,
        check=True,
    )
    table = pl.read_csv(data / "table.csv", infer_schema=False)
    measures = pl.read_parquet(data / "measures.parquet")
    newest = measures["measured_at"].max()
    assert isinstance(newest, datetime)
    later = datetime.now(UTC) - timedelta(minutes=1) - newest
    measures.with_columns(pl.col("measured_at") + later).write_parquet(data / "measures.parquet")
    times = pl.col("event_time").str.to_datetime("%Y-%m-%dT%H:%M:%SZ") + later
    table.with_columns(times.dt.strftime("%Y-%m-%dT%H:%M:%SZ")).write_csv(data / "table.csv")


def run_in(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the life cycle of the plan in a folder to its end."""
    command = [sys.executable, "-m", "sextant_pipelines.cli", "run", "plan.yaml", "--home", ".sextant", "--json"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
