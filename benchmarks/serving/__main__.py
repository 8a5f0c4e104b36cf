"""`python -m benchmarks.serving`: Sextant's server, the bare model and its peers side by side, in one run.

The server has core 0 and the load core 1. Writes benchmarks.json, benchmarks.md and images/benchmarks-serving.svg below
--out. Exits 0 whatever the figures are: a benchmark measures and does not judge.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.environments import make_environment, version_in
from benchmarks.serving.measure import Cell, measure, measure_raw
from benchmarks.serving.models import MODELS, BenchModel, make_bundle
from benchmarks.serving.report import write_report
from benchmarks.serving.servers import CONTENDERS, OURS, Contender, running
from benchmarks.serving.wires import WIRES

ROOT = Path(__file__).parents[2]
PEERS = Path(__file__).parent / "peers"


def main() -> int:
    """Measure and write the report."""
    options = _options()
    figures: Path = options.out / "benchmarks.json"
    for document in () if options.report_only else _measure_all(options):
        figures.write_text(json.dumps(document, indent=1) + "\n")  # after each server, so that none is lost
    write_report(json.loads(figures.read_text()), options.out)
    return 0


def _measure_all(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the run so far, after each server: the machine, the versions, the cells, what could not be measured."""
    load_before = os.getloadavg()[0]
    versions = {name: _version(name, options.work / "environments") for name in options.servers}
    cells: list[Cell] = []
    failures: dict[str, str] = {}
    for model in [MODELS[name] for name in options.models]:
        bundle = make_bundle(model, options.work / "bundles")
        for connections in options.connections:
            cells.append(
                _told(measure_raw(model, bundle, connections=connections, seconds=options.seconds, first=options.first))
            )
        for name in options.servers:
            try:
                cells.extend(map(_told, _measure_server(CONTENDERS[name], model, bundle, options)))
            except (RuntimeError, subprocess.CalledProcessError) as error:
                failures[f"{name}, {model.name}"] = str(error)
                print(f"{name}: {error}; its words are in {options.work}/{name}.log", file=sys.stderr)
            yield {
                "cpu": _cpu_name(),
                "cores": os.cpu_count(),
                "python": platform.python_version(),
                "load_average": [load_before, os.getloadavg()[0]],
                "seconds": options.seconds,
                "first": options.first,
                "versions": versions,
                "failures": failures,
                "cells": [asdict(cell) for cell in cells],
            }


def _measure_server(
    contender: Contender, model: BenchModel, bundle: Path, options: argparse.Namespace
) -> Iterator[Cell]:
    log = options.work / f"{contender.name}.log"
    with running(contender, model, bundle, options.work / "environments", log, first=options.first) as server:
        for wire in options.wires:
            for connections in options.connections if wire in contender.wires else ():
                yield measure(
                    contender,
                    server,
                    model,
                    wire,
                    connections=connections,
                    seconds=options.seconds,
                    first=options.first,
                )


def _told(cell: Cell) -> Cell:
    words = f"{cell.model:12} {cell.server:9} {cell.wire:7} {cell.connections:3} {cell.rate:9.1f}/s"
    print(f"{words} p50 {cell.p50_ms:.2f} ms, cpu {cell.cpu_ms:.3f} ms, {cell.errors} errors", file=sys.stderr)
    return cell


def _version(name: str, environments: Path) -> str:
    if name in OURS:
        from sextant_plan import __version__

        return __version__
    print(f"the environment of {name}", file=sys.stderr)
    return version_in(make_environment(PEERS / f"{name}.txt", environments), name)


def _cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--servers", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), help="default: all")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), help="default: all")
    parser.add_argument("--wires", nargs="+", choices=WIRES, default=list(WIRES), help="formats (default: all)")
    parser.add_argument("--connections", nargs="+", type=int, default=[1, 32], help="default: 1 32")
    parser.add_argument("--seconds", type=float, default=5.0, help="of load for each cell (default: 5)")
    parser.add_argument("--first", action="store_true", help="run before all other work of the machine (as root)")
    parser.add_argument("--work", type=Path, default=Path("/tmp/sextant-bench"), help="environments, models and logs")  # noqa: S108
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="where the report goes (default: docs)")
    parser.add_argument("--report-only", action="store_true", help="write the report again from benchmarks.json")
    options = parser.parse_args()
    for folder in (options.work, options.out):
        folder.mkdir(parents=True, exist_ok=True)
    return options


if __name__ == "__main__":
    sys.exit(main())
