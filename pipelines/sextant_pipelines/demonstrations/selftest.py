"""Monitoring tested on itself: each fault is seeded into a real run or a real server, and has to be caught by name.

`python -m sextant_pipelines.demonstrations.selftest`, from a folder that holds `examples/`. Faults of data and training
go through `sextant run`; faults of what is served befall a server under traffic, watched by the plan's rules. It prints
a table of fault, gate or alert, and time, and exits with 0 only if every fault was caught by what was meant to.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from sextant_components.deployment.drills.held_back import MODULE
from sextant_pipelines.demonstrations.belt import Belt
from sextant_pipelines.demonstrations.module_command import exit_code_of
from sextant_pipelines.demonstrations.parcel_bench import Bench, run_in, set_up
from sextant_pipelines.demonstrations.seeded import LIVE, OFFLINE, Caught, Live, Offline, Scene, Store, spoilt
from sextant_pipelines.demonstrations.vigil import Vigil
from sextant_pipelines.options import examples_option, json_option, print_json, require_new
from sextant_plan.errors import ExitCode

PACE, SENDERS = 60.0, 128  # requests a second; so many at once that a slow server still answers a windowful
LOOK_SECONDS = 0.5
PATIENCE_SECONDS = 900.0  # the slowest alert takes three windows; on a busy machine they fill slowly
HOME = Path(".sextant") / "selftest"


@click.command("selftest")
@examples_option
@click.option(
    "--folder", type=click.Path(path_type=Path, file_okay=False), default=HOME, show_default=True, help="A new folder."
)
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False), help="Write the table there, as Markdown.")
@json_option
def command(examples: Path, folder: Path, report: Path | None, *, as_json: bool) -> int:
    """Seed each fault, wait for the gate or alert that has to catch it, and print what caught it and when."""
    require_new(folder, option="--folder", what="the self-test needs")
    bench = set_up(folder, (examples / "selftest" / "plan.yaml").read_text(encoding="utf-8"))
    found = [_told(_offline(bench, fault)) for fault in OFFLINE]
    fired: set[str] = set()
    found += [_told(_live(bench, fault, fired)) for fault in LIVE]
    if report is not None:
        report.write_text(as_table(found) + "\n", encoding="utf-8")
    if as_json:
        print_json([{**vars(each), "caught": each.is_caught} for each in found])
    else:
        click.echo(as_table(found))
    return int(ExitCode.OK if all(each.is_caught for each in found) else ExitCode.GATE_FAILED)


def as_table(found: Sequence[Caught]) -> str:
    """Return the results as a Markdown table."""
    lines = ["| fault | meant to catch it | caught by | seconds | rows |", "|---|---|---|---|---|"]
    lines += [
        f"| {each.fault} | {each.expected} | {each.found or 'nothing'} | {each.seconds:.1f} | {each.rows or '-'} |"
        for each in found
    ]
    return "\n".join(lines)


def _told(caught: Caught) -> Caught:
    by = f"caught by {caught.found}" if caught.is_caught else f"NOT CAUGHT by {caught.expected}: {caught.found}"
    click.echo(f"{caught.fault}: {by} after {caught.seconds:.1f} s", err=True)
    return caught


def _offline(bench: Bench, fault: Offline) -> Caught:
    """Run the life cycle on a spoilt copy; the gate has caught it if its criterion failed and nothing is in service."""
    import polars as pl

    folder = bench.folder / fault.slug
    shutil.copytree(bench.folder / "sound" / "data", folder / "data")
    table = pl.read_csv(folder / "data" / "table.csv", infer_schema=False)
    text, table = fault.spoil((bench.folder / "sound" / "plan.yaml").read_text(encoding="utf-8"), table)
    (folder / "plan.yaml").write_text(text, encoding="utf-8")
    table.write_csv(folder / "data" / "table.csv")
    began = time.monotonic()
    done = run_in(folder)
    seconds = time.monotonic() - began
    failed = _failed_gates(done.stdout)
    serves = (folder / ".sextant" / "active.json").exists()
    found = None if serves or done.returncode != ExitCode.GATE_FAILED else _first(failed, fault.gate)
    return Caught(fault.name, fault.gate, found, seconds)


def _failed_gates(text: str) -> list[str]:
    try:
        result: dict[str, Any] = json.loads(text)
    except ValueError:
        return []
    return [each["id"] for each in result["criteria"] if each["verdict"] == "fail"]


def _first(names: Sequence[str], wanted: str) -> str | None:
    return wanted if wanted in names else next(iter(names), None)


def _live(bench: Bench, fault: Live, fired: set[str]) -> Caught:
    """Let a server run under traffic, break it, and wait for the alert.

    `fired` collects what fires beside sound stores before anything is broken; such an alert has caught nothing.
    """
    from sextant_serving.launch import running_server

    repo, log = _store(bench, fault.store), bench.folder / f"{fault.alert}-server.log"
    brake = bench.folder / "seconds-slower"
    with (
        running_server(
            bundle=Path(bench.active.bundle), feature_repo=repo, log=log, program=(MODULE, str(brake))
        ) as server,
        Belt(server.url, bench.parcels, PACE, labelled=True, senders=SENDERS) as belt,
    ):
        vigil = Vigil(bench.plan, server.url)
        if fault.store == "sound":
            # Two windows, so that the second holds nothing of the start; what fires then is not the fault's doing.
            _watch(vigil, fault.alert, seconds=2 * bench.plan.monitoring.window)
            fired |= vigil.firing
        began, sent = time.monotonic(), belt.statuses["200"]
        with fault.begin(Scene(server, belt, brake)):
            found = _watch(vigil, fault.alert, seconds=PATIENCE_SECONDS)
        seconds, rows = time.monotonic() - began, belt.statuses["200"] - sent
    if fault.alert in fired:
        found = f"{fault.alert} without the fault too"
    return Caught(fault.name, fault.alert, found, seconds, rows)


def _watch(vigil: Vigil, alert: str, *, seconds: float) -> str | None:
    """Look until the alert fires; return it, or None if it has not within so many seconds."""
    end = time.monotonic() + seconds
    while alert not in vigil.look():
        if time.monotonic() > end:
            return None
        time.sleep(LOOK_SECONDS)
    return alert


def _store(bench: Bench, store: Store) -> Path:
    """Return the feature repository of a store; the sound one is what the life cycle has made."""
    assert bench.active.feature_repo is not None
    if store == "sound":
        return Path(bench.active.feature_repo)
    import polars as pl

    from sextant_components.data.features.feature_sources import read_views
    from sextant_components.data.features.feature_store import FeatureRepository

    data = bench.folder / store
    data.mkdir()
    measures = pl.read_parquet(bench.folder / "sound" / "data" / "measures.parquet")
    spoilt(measures, store).write_parquet(data / "measures.parquet")
    repository = FeatureRepository(bench.plan, data / "feast", read_views(bench.plan, data))
    with repository.locked():
        repository.apply()
        repository.materialise(until=datetime.now(UTC))
    return data / "feast"


if __name__ == "__main__":
    raise SystemExit(exit_code_of(command, "sextant_pipelines.demonstrations.selftest"))
