"""Drift detection by simulation: power and false alarms of Sextant's rule and of three peers on the same windows.

`python -m benchmarks.monitoring run --work DIR` measures ours over 10,000 windows a cell and each peer over 500;
`times` measures what a window without a shift costs each of them, over fewer windows and all in one go; `report` writes
docs/benchmarks-monitoring.md from what lies in DIR. A peer's environment is made from its lock in
`benchmarks/monitoring/peers/` by uv.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import click
import numpy as np
from benchmarks.environments import WITHOUT_TELEMETRY, make_environment
from benchmarks.monitoring.report import render
from benchmarks.monitoring.windows import CATEGORIES, SHIFTS, TABLES, Shift, load_table, reference_of, windows_of

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
PEERS = ("alibi-detect", "nannyml", "evidently")  # the slowest last
OURS, THEIRS, TIMED = 10_000, 500, 50
LIMITS = ("sextant", "sextant-0.07")  # ours at the usual limit, and at a lower one
# By the slow peers too. The first is false alarms, the second is at the edge of what the usual limit calls drift.
COMPARED = (
    "none",
    "one feature +0.25 sd",
    "one feature +0.5 sd",
    "a dark hall",
    "a new supplier of 40 % of the parcels",
)


@click.group()
def main() -> None:
    """Simulate drift and write the table."""


@main.command()
@click.option(
    "--work", type=click.Path(path_type=Path, file_okay=False), required=True, help="Environments and results."
)
@click.option("--only", multiple=True, help="Detectors to measure. Default: all.")
@click.option("--windows", type=int, default=OURS, show_default=True, help="Windows a cell for ours.")
def run(work: Path, only: tuple[str, ...], windows: int) -> None:
    """Measure every detector that is asked for."""
    work.mkdir(parents=True, exist_ok=True)
    compared = work / "windows-compared.npz"
    cells = [(table, shift) for shift in SHIFTS if shift.name in COMPARED for table in TABLES if shift.is_of(table)]
    if not compared.exists():
        _write_windows(compared, cells, THEIRS, work)
    for name in only or (*LIMITS, *PEERS):
        _measure(name, compared, work / f"{name}.json", work)
    if not only or "sextant" in only:
        _measure_ours(work, windows)


@main.command()
@click.option("--work", type=click.Path(path_type=Path, file_okay=False), required=True, help="As of `run`.")
def times(work: Path) -> None:
    """Measure what one window costs each detector, one after the other."""
    (work / "times").mkdir(parents=True, exist_ok=True)
    windows = work / "windows-timed.npz"
    _write_windows(windows, [(table, SHIFTS[0]) for table in TABLES], TIMED, work)
    for name in (*LIMITS, *PEERS):
        _measure(name, windows, work / "times" / f"{name}.json", work)


def _measure_ours(work: Path, count: int) -> None:
    """Measure ours cell by cell, because the windows of one are up to 300 MB."""
    found = []
    path, result = work / "windows-ours.npz", work / "cell-ours.part"
    for table, shift in product(TABLES, SHIFTS):
        if not shift.is_of(table):
            continue
        _write_windows(path, [(table, shift)], count, work)
        for name in LIMITS:
            _measure(name, path, result, work)
            found += json.loads(result.read_text(encoding="utf-8"))
    path.unlink()
    result.unlink()
    (work / "ours.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


@main.command()
@click.option("--work", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True, help="Of `run`.")
def report(work: Path) -> None:
    """Write docs/benchmarks-monitoring.md."""
    found, timed = (
        {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
        for folder in (work, work / "times")
    )
    (ROOT / "docs" / "benchmarks-monitoring.md").write_text(render(found, timed), encoding="utf-8")


def _write_windows(path: Path, cells: Sequence[tuple[str, Shift]], count: int, work: Path) -> None:
    """Write references and windows, float32; the same windows for every detector."""
    arrays: dict[str, Any] = {}
    for number, (table, shift) in enumerate(cells):
        categories = CATEGORIES.get(table, {})
        arrays[f"reference-{table}"] = reference_of(load_table(table, work), len(categories))
        arrays[f"categories-{table}"] = np.asarray(list(categories.items()), dtype=np.int64).reshape(-1, 2)
        windows = windows_of(load_table(table, work, shift.rows), shift, count, len(categories))
        arrays[f"windows-{number}"] = np.stack([each.astype(np.float32) for each in windows])
    named = [{"table": table, "shift": shift.name} for table, shift in cells]
    np.savez(path, cells=json.dumps(named), **arrays)


def _measure(name: str, windows: Path, result: Path, work: Path) -> None:
    python = (
        Path(sys.executable)
        if name in LIMITS
        else make_environment(HERE / "peers" / f"{name}.txt", work / "environments")
    )
    command = [str(each) for each in (python, HERE / "measure.py", name, windows, result)]
    subprocess.run(command, check=True, env={**os.environ, **WITHOUT_TELEMETRY})


if __name__ == "__main__":
    main()
