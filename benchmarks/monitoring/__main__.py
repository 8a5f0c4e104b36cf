"""Drift detection by simulation: power and false alarms of Sextant's rule and of three peers on the same windows.

`python -m benchmarks.monitoring run --work DIR` measures ours over 10,000 windows a cell and each peer over 500;
`report` writes docs/benchmarks-monitoring.md from what lies in DIR. A peer's environment is made from its lock in
`benchmarks/monitoring/peers/` by uv.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from benchmarks.monitoring.report import render
from benchmarks.monitoring.windows import SHIFTS, TABLES, Shift, load_table, reference_of, windows_of

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
WITHOUT_TELEMETRY = {"NML_DISABLE_USAGE_LOGGING": "1", "DO_NOT_TRACK": "1"}  # a call home is no part of a detector
PEERS = ("evidently", "nannyml", "alibi-detect")
OURS, THEIRS = 10_000, 500
COMPARED = ("none", "one feature +0.5 sd")  # by the slow peers too


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
    _write_windows(compared, [(table, shift) for table in TABLES for shift in SHIFTS if shift.name in COMPARED], THEIRS)
    for name in only or ("sextant", *PEERS):
        _measure(name, compared, work / f"{name}.json", work)
    if not only or "sextant" in only:
        _measure_ours(work, windows)


def _measure_ours(work: Path, count: int) -> None:
    """Measure ours cell by cell, because the windows of one are 200 MB."""
    found = []
    path, result = work / "windows-ours.npz", work / "cell-ours.part"
    for table in TABLES:
        for shift in SHIFTS:
            _write_windows(path, [(table, shift)], count)
            _measure("sextant", path, result, work)
            found += json.loads(result.read_text(encoding="utf-8"))
    path.unlink()
    result.unlink()
    (work / "ours.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


@main.command()
@click.option("--work", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True, help="Of `run`.")
def report(work: Path) -> None:
    """Write docs/benchmarks-monitoring.md."""
    found: dict[str, list[dict[str, Any]]] = {
        path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(work.glob("*.json"))
    }
    (ROOT / "docs" / "benchmarks-monitoring.md").write_text(render(found), encoding="utf-8")


def _write_windows(path: Path, cells: Sequence[tuple[str, Shift]], count: int) -> None:
    """Write references and windows, float32; the same windows for every detector."""
    arrays: dict[str, Any] = {}
    for number, (table, shift) in enumerate(cells):
        rows = load_table(table)
        arrays[f"reference-{table}"] = reference_of(rows)
        arrays[f"windows-{number}"] = np.stack([each.astype(np.float32) for each in windows_of(rows, shift, count)])
    named = [{"table": table, "shift": shift.name} for table, shift in cells]
    np.savez(path, cells=json.dumps(named), **arrays)


def _measure(name: str, windows: Path, result: Path, work: Path) -> None:
    python = Path(sys.executable) if name == "sextant" else _environment(name, work)
    command = [str(each) for each in (python, HERE / "measure.py", name, windows, result)]
    subprocess.run(command, check=True, env={**os.environ, **WITHOUT_TELEMETRY})


def _environment(peer: str, work: Path) -> Path:
    """Return the Python of a peer's environment, made from its lock if it is not there."""
    folder = work / "environments" / peer
    if not (folder / "bin" / "python").exists():
        uv = Path(sys.executable).with_name("uv")
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
        lock = HERE / "peers" / f"{peer}.txt"
        sync = [uv, "pip", "sync", "--quiet", "--python", folder / "bin" / "python", "--require-hashes", lock]
        subprocess.run(sync, check=True)
    return folder / "bin" / "python"


if __name__ == "__main__":
    main()
