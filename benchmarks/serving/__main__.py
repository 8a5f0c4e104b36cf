"""`python -m benchmarks.serving`: Sextant's server, the bare model and its peers side by side, in one run.

The server has core 0 and the load core 1. Writes benchmarks.json, benchmarks.md and images/benchmarks-serving.svg below
--out. Exits 0 whatever the figures are: a benchmark measures and does not judge.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.environments import make_environment, version_in
from benchmarks.serving.measure import Cell, Load, measure, measure_raw
from benchmarks.serving.models import MODELS, BenchModel, make_bundle
from benchmarks.serving.report import write_report
from benchmarks.serving.servers import CONTENDERS, OURS, Running, running
from benchmarks.serving.wires import WIRES

from sextant_serving.allocator import start_with_huge_pages

ROOT = Path(__file__).parents[2]
PEERS = Path(__file__).parent / "peers"


def main() -> int:
    """Measure and write the report."""
    options = _options()
    start_with_huge_pages()  # for the model alone, which would be no measure of a server that has them
    figures: Path = options.out / "benchmarks.json"
    for document in () if options.report_only else _measure_all(options):
        figures.write_text(_as_json(document))  # after each round, so that none is lost
    write_report(json.loads(figures.read_text()), options.out)
    return 0


def _as_json(document: dict[str, Any]) -> str:
    """Return a document with a line for each cell."""
    cells = ",\n".join(f"  {json.dumps(cell)}" for cell in document["cells"])
    return json.dumps({**document, "cells": []}, indent=1).replace('"cells": []', f'"cells": [\n{cells}\n ]') + "\n"


def _measure_all(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the run so far, after each round: the machine, the versions, the cells, what could not be measured."""
    load_before = os.getloadavg()[0]
    versions = {name: _version(name, options.work / "environments") for name in options.servers}
    cells: list[Cell] = []
    failures: dict[str, str] = {}
    for model in [MODELS[name] for name in options.models]:
        for measured in _measure_model(model, options, failures):
            cells += measured
            yield {
                "cpu": _cpu_name(),
                "cores": os.cpu_count(),
                "python": platform.python_version(),
                "load_average": [load_before, os.getloadavg()[0]],
                "seconds": options.seconds,
                "rounds": options.rounds,
                "first": options.first,
                "versions": versions,
                "failures": failures,
                "cells": [asdict(cell) for cell in cells],
            }


def _measure_model(model: BenchModel, options: argparse.Namespace, failures: dict[str, str]) -> Iterator[list[Cell]]:
    """Yield the cells of each round.

    All servers are up at once and take turns of seconds: a machine whose speed changes by the minute, as that of a
    shared host does, is then as fast for one as for the next. What fails is written into `failures` and left out.
    """
    bundle = make_bundle(model, options.work / "bundles")

    def note(name: str, error: Exception) -> None:
        failures[f"{name}, {model.name}"] = str(error)
        print(f"{name}: {error}; its words are in {options.work}/{name}.log", file=sys.stderr)

    with ExitStack() as stack:
        servers: dict[str, Running] = {}
        for name in options.servers:
            try:
                servers[name] = stack.enter_context(_running(name, model, bundle, options))
            except RuntimeError as error:
                note(name, error)
        for connections, turn in itertools.product(options.connections, range(options.rounds)):
            load = Load(connections, options.seconds, first=options.first)
            cells = [_told(measure_raw(model, bundle, load), turn)]
            for wire, name in itertools.product(options.wires, _rotated(list(servers), turn)):
                if name in servers and wire in CONTENDERS[name].wires:
                    try:
                        cells.append(_told(measure(CONTENDERS[name], servers[name], model, wire, load), turn))
                    except (RuntimeError, subprocess.CalledProcessError) as error:
                        note(name, error)
                        del servers[name]
            yield cells


def _rotated(names: list[str], turn: int) -> list[str]:
    """Return the names in the same order, with another one first in each round."""
    start = turn * 3 % len(names) if names else 0
    return names[start:] + names[:start]


def _running(
    name: str, model: BenchModel, bundle: Path, options: argparse.Namespace
) -> AbstractContextManager[Running]:
    log = options.work / f"{name}.log"
    return running(CONTENDERS[name], model, bundle, options.work / "environments", log, first=options.first)


def _told(cell: Cell, turn: int) -> Cell:
    words = f"{cell.model:12} {cell.server:9} {cell.wire:7} {cell.connections:3} {cell.rate:9.1f}/s"
    print(f"{words} p50 {cell.p50_ms:.2f} ms, cpu {cell.cpu_ms:.3f} ms, {cell.errors} errors", file=sys.stderr)
    return replace(cell, turn=turn)


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
    parser.add_argument("--seconds", type=float, default=1.0, help="of load for each cell and round (default: 1)")
    parser.add_argument("--rounds", type=int, default=3, help="the report has their medians (default: 3)")
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
