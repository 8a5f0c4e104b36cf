"""The quality and drift profile of 1,000,000 rows and 60 columns, by the functions that verify and monitoring use.

    python -m benchmarks.profile_speed [--rows 1000000] [--columns 60] [--repeats 3] [--peers DIR]

Quality: every value against its column's rule, the missing ones, repeated rows. Drift: reference bins at the
quantiles of one table, and the bias-corrected PSI of another against them. The tables lie in Parquet; reading them is
part of the time. With `--peers`, Evidently and NannyML profile the same files afterwards, each in an environment made
in DIR from its lock in `benchmarks/monitoring/peers`.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import click
import numpy as np
import polars as pl
from benchmarks.environments import WITHOUT_TELEMETRY, make_environment

from sextant_components.data.column_rules import violations
from sextant_components.data.table_files import as_numbers
from sextant_plan.reference import bin_index, profile, stability_index
from sextant_plan.schema import ColumnRule

SHIFTED_COLUMNS = 3  # of the current table, by half a standard deviation
BAD_VALUES = 1000  # out of range, in the first column of the current table
PEERS = ("nannyml", "evidently")  # the slower one last
HERE = Path(__file__).parent
CATEGORIES = ("north", "south", "east", "west")


@dataclass(frozen=True)
class Profile:
    """What was found: broken values and missing ones by column, repeated rows, and columns that drifted."""

    broken: dict[str, int]
    missing: dict[str, int]
    repeated: int
    drifted: list[str]


def _write(path: Path, rows: int, columns: int, seed: int, *, shifted: bool) -> None:
    rng = np.random.default_rng(seed)
    numbers = {f"n{index:02d}": rng.normal(size=rows) for index in range(columns - columns // 6)}
    if shifted:
        for index in range(SHIFTED_COLUMNS):
            numbers[f"n{index + 1:02d}"] += 0.5
        numbers["n00"][:BAD_VALUES] = 99.0
    words = {f"c{index:02d}": rng.choice(CATEGORIES, rows) for index in range(columns // 6)}
    pl.DataFrame(numbers | words).write_parquet(path)


def _profile(reference: Path, current: Path, rules: dict[str, ColumnRule]) -> Profile:
    """Check and compare one column at a time, so that memory holds two columns and not two tables."""
    broken, missing, drifted = {}, {}, []
    row_hash: pl.Series | None = None
    for name, rule in rules.items():
        own = pl.read_parquet(current, columns=[name])[name]
        broken[name] = sum(int(mask.sum()) for mask in violations(own, rule).values())
        missing[name] = own.null_count()
        row_hash = own.hash() if row_hash is None else _mixed(row_hash, own)
        if rule.type == "number":
            base = profile(name, as_numbers(pl.read_parquet(reference, columns=[name])[name]).to_numpy())
            counts = np.bincount(bin_index(as_numbers(own).to_numpy(), base.edges), minlength=len(base.counts))
            index = stability_index(base.counts, counts, corrected=True)
        else:
            before, after = (_counts(pl.read_parquet(reference, columns=[name])[name]), _counts(own))
            kinds = sorted(before.keys() | after.keys())
            index = stability_index(
                [before.get(kind, 0) for kind in kinds], [after.get(kind, 0) for kind in kinds], corrected=True
            )
        if index > 0.1:  # nats, the usual mark of a moderate change
            drifted.append(name)
    assert row_hash is not None
    return Profile(broken, missing, len(row_hash) - row_hash.n_unique(), drifted)


def _mixed(state: pl.Series, column: pl.Series) -> pl.Series:
    return pl.DataFrame({"state": state, "own": column.hash()}).hash_rows()


def _counts(column: pl.Series) -> dict[str, int]:
    return dict(column.value_counts().iter_rows())


@click.command()
@click.option("--rows", default=1_000_000, show_default=True, help="Rows of each table.")
@click.option("--columns", default=60, show_default=True, help="Columns; every sixth is a category.")
@click.option("--repeats", default=3, show_default=True, help="Profiles made; the median counts.")
@click.option("--peers", type=click.Path(path_type=Path, file_okay=False), help="Measure peers; their environments.")
def main(rows: int, columns: int, repeats: int, peers: Path | None) -> None:
    """Print the seconds of a profile and the process's greatest memory, and prove that it found what was seeded."""
    with tempfile.TemporaryDirectory() as folder:
        reference, current = Path(folder, "reference.parquet"), Path(folder, "current.parquet")
        for path, seed, shifted in ((reference, 1, False), (current, 2, True)):
            # In a process of its own, so that the memory measured is the profile's.
            writer = get_context("spawn").Process(
                target=_write, args=(path, rows, columns, seed), kwargs={"shifted": shifted}
            )
            writer.start()
            writer.join()
            assert writer.exitcode == 0
        numbers = {
            f"n{index:02d}": ColumnRule(type="number", min=-50, max=50) for index in range(columns - columns // 6)
        }
        words = {f"c{index:02d}": ColumnRule(type="category", values=list(CATEGORIES)) for index in range(columns // 6)}
        before = _peak_megabytes()
        seconds = []
        for _ in range(repeats):
            start, cpu = time.perf_counter(), time.process_time()
            found = _profile(reference, current, numbers | words)
            seconds.append((time.perf_counter() - start, time.process_time() - cpu))
            assert found.broken["n00"] == BAD_VALUES, found.broken
            assert found.drifted == [f"n{index + 1:02d}" for index in range(SHIFTED_COLUMNS)], found.drifted
            assert sum(found.missing.values()) == 0
            assert found.repeated == 0
        wall, cpu = (statistics.median(times) for times in zip(*seconds, strict=True))
        print(f"{rows:,} rows, {columns} columns: {wall:.2f} s, {cpu:.2f} s of processor time")
        print(f"greatest memory {_peak_megabytes():,.0f} MB, of which the libraries take {before:,.0f}")
        for name in PEERS if peers else ():
            _tell_of_peer(name, peers, reference, current)


def _tell_of_peer(name: str, environments: Path, reference: Path, current: Path) -> None:
    python = make_environment(HERE / "monitoring" / "peers" / f"{name}.txt", environments)
    command = [str(each) for each in (python, HERE / "profile_peers.py", name, reference, current)]
    answer = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, **WITHOUT_TELEMETRY}
    )
    found = json.loads(answer.stdout.splitlines()[-1])
    told = f"{found['seconds']:.2f} s, {found['processor']:.2f} s of processor time, {found['peak']:,.0f} MB"
    print(f"{name}: {told}; {found['drifted']} columns drifted")


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
