"""What one node does: CPU seconds and memory of each step over a table of so many rows.

    python -m benchmarks.life_cycle [--rows 100000] [--columns 10] [--trees 100]

Each step is a process of its own, as it is a pod of its own on a cluster, and its kernel accounts are read when it
ends: CPU time of all its threads, and the largest resident memory. CPU time does not depend on what else the machine
does, but for its caches; wall time is shown beside it. The steps after `evaluate` do not grow with the rows.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import polars as pl

from sextant_components.runs.context import create_run

STEPS = ("plan", "ingest", "verify", "prepare", "train", "optimise", "evaluate")
PATHS = {
    "ingest": ("snapshot",),
    "verify": ("snapshot", "verified"),
    "prepare": ("snapshot", "verified", "splits"),
    "train": ("snapshot", "splits", "model"),
    "optimise": ("snapshot", "splits", "model", "bundle"),
    "evaluate": ("snapshot", "splits", "bundle"),
}
PLAN = """
name: scale
owner: {{team: benchmark, approvers: [nobody]}}
goal:
  business: Show what one node does.
  why_ml: A drawn table is separable.
  baseline: {{kind: majority}}
  economics: {{value_per_correct: 0.01, cost_per_error: 0.05, predictions_per_day: 1000}}
criteria:
  - {{id: accuracy, metric: accuracy, at_least: 0.6, min_n: 100}}
data:
  source: data
  table: table.parquet
  label: label
  entity: key
  columns:
    key: {{type: text, unique: true}}
    label: {{type: category, values: [a, b]}}
{columns}
  licence: {{name: CC0-1.0, source: drawn by the benchmark, allows_training: true}}
  consent: {{basis: No person is in it., personal_data: false}}
model:
  task: tabular-classification
  inputs: {{columns: [{names}]}}
  candidates: [{{architecture: gradient-boosting, params: {{trees: {trees}}}}}]
  search: {{trials: 1}}
  seeds: 1
evaluation: {{sealed_split: 0.2, valid_split: 0.15, latency_requests: 300}}
serving: {{latency_slo_ms: 500}}
"""


@dataclass(frozen=True)
class Cost:
    """What one process used: seconds of CPU and by the wall, and its largest resident memory in MiB."""

    cpu: float
    wall: float
    mebibytes: float
    code: int


def _draw(folder: Path, rows: int, names: list[str]) -> None:
    rng = np.random.default_rng(0)
    columns = {name: rng.normal(size=rows) for name in names}
    score = sum(columns[name] for name in names[:3]) + rng.normal(scale=0.3, size=rows)
    table = {"key": [f"r{number:09d}" for number in range(rows)], **columns, "label": np.where(score > 0, "a", "b")}
    folder.mkdir()
    pl.DataFrame(table).write_parquet(folder / "table.parquet")


def _cost(run: Path, step: str) -> Cost:
    paths = {name: str(run.parent / "artifacts" / name) for name in PATHS.get(step, ())}
    code = f"from sextant_pipelines.runtime import run_step; print(run_step({step!r}, {str(run)!r}, **{paths!r}))"
    began = time.monotonic()
    process = os.posix_spawn(sys.executable, [sys.executable, "-W", "ignore", "-c", code], os.environ)
    _, status, used = os.wait4(process, 0)
    cpu = used.ru_utime + used.ru_stime
    return Cost(cpu, time.monotonic() - began, used.ru_maxrss / 1024, os.waitstatus_to_exitcode(status))


@click.command()
@click.option("--rows", default=100_000, show_default=True, help="Rows of the table.")
@click.option("--columns", default=10, show_default=True, help="Numbers in a row.")
@click.option("--trees", default=100, show_default=True, help="Trees of the model.")
def main(rows: int, columns: int, trees: int) -> None:
    """Run the steps from plan to evaluate over a drawn table and print what each of them used."""
    names = [f"f{number}" for number in range(columns)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _draw(folder / "data", rows, names)
        declared = "\n".join(f"    {each}: {{type: number}}" for each in names)
        plan = folder / "plan.yaml"
        plan.write_text(PLAN.format(columns=declared, names=", ".join(names), trees=trees), encoding="utf-8")
        create_run(folder / "run", run_id="scale", plan_path=plan, home=folder / "home")
        click.echo(f"{rows:,} rows, {columns} columns\n{'step':10}{'CPU s':>8}{'wall s':>8}{'MiB':>8}")
        for step in STEPS:
            cost = _cost(folder / "run", step)
            click.echo(f"{step:10}{cost.cpu:8.1f}{cost.wall:8.1f}{cost.mebibytes:8.0f}")
            if cost.code:
                raise SystemExit(cost.code)


if __name__ == "__main__":
    main()
