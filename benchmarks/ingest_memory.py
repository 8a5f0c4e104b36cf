"""Ingest, verify and prepare: a table of 1,000,000 rows and 60 columns, and a folder of 100,000 small pictures.

    python -m benchmarks.ingest_memory [--rows 1000000] [--columns 60] [--inputs 10] [--pictures 100000] [--form csv]

Prints the seconds and the greatest memory of each, in a process of its own, libraries included. Every column of the
table has a rule, its key is unique, and two of its columns are compared in each row. The folder is also ingested again
without a change, and after one picture was changed.
"""

from __future__ import annotations

import io
import resource
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import click
import numpy as np
import polars as pl
import yaml
from PIL import Image

CLASSES = ("a", "b", "c")
WORDS = ("north", "south", "east", "west")
SIDE = 16  # pixels a side


def _plan(inputs: dict[str, Any], **data: Any) -> dict[str, Any]:
    tabular = "table" in data
    return {
        "name": "ingested",
        "owner": {"team": "bench", "approvers": ["one"]},
        "goal": {"business": "measure", "why_ml": "no rule"},
        "criteria": [{"id": "accuracy", "metric": "accuracy", "at_least": 0.5}],
        "data": {
            "source": "data",
            "label": "label",
            "licence": {"name": "CC0-1.0", "source": "generated", "allows_training": True},
            "consent": {"basis": "generated"},
            **data,
        },
        "model": {
            "task": "tabular-classification" if tabular else "image-classification",
            "inputs": inputs,
            "candidates": [{"architecture": "linear"}],
        },
    }


def _names(columns: int) -> tuple[list[str], list[str]]:
    """Return the names of the columns of numbers and of words; the key and the label are the other two."""
    words = columns // 6
    return [f"n{index:02d}" for index in range(columns - words - 2)], [f"c{index:02d}" for index in range(words)]


def _table_plan(columns: int, inputs: int, form: str) -> dict[str, Any]:
    numbers, words = _names(columns)
    rules: dict[str, Any] = {name: {"type": "number", "min": -50, "max": 50} for name in numbers}
    rules |= {name: {"type": "category", "values": list(WORDS)} for name in words}
    rules |= {"key": {"type": "text", "unique": True}}
    compared = [f"{numbers[0]} != {numbers[1]}"]
    read = {"columns": [*words, *numbers][:inputs]}
    return _plan(read, table=f"table.{form}", entity="key", columns=rules, rules=compared)


def _write_table(folder: Path, rows: int, columns: int, form: str) -> None:
    rng = np.random.default_rng(0)
    of_numbers, of_words = _names(columns)
    numbers = {name: rng.normal(size=rows).round(4) for name in of_numbers}
    words = {name: rng.choice(WORDS, rows) for name in of_words}
    keys = {"key": [f"K-{row:08d}" for row in rng.permutation(rows)], "label": rng.choice(CLASSES, rows)}
    table = pl.DataFrame(keys | numbers | words)
    path = folder / f"table.{form}"
    table.write_csv(path) if form == "csv" else table.write_parquet(path)


def _write_pictures(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    for name in CLASSES:
        (folder / "pictures" / name).mkdir(parents=True)
    for number in range(count):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)).save(buffer, "PNG")
        (folder / "pictures" / CLASSES[number % 3] / f"{number:06d}.png").write_bytes(buffer.getvalue())


def _step(root: str, name: str, answer: Connection) -> None:
    """Run a step in the folder: `verify` or `prepare` of the first snapshot, any other name an ingest."""
    from sextant_components.data.ingest import run_ingest
    from sextant_components.data.prepare import run_prepare
    from sextant_components.data.verify import run_verify
    from sextant_components.runs.context import create_run

    folder = Path(root)
    context = create_run(folder / name, run_id=name, plan_path=folder / "plan.yaml", home=folder / "home")
    start, busy = time.perf_counter(), time.process_time()
    paths = {"snapshot": folder / "first-snapshot", "verified": folder / "verified"}
    if name == "verify":
        run_verify(context, **paths)
    elif name == "prepare":
        run_prepare(context, **paths, splits=folder / "splits")
    else:
        run_ingest(context, snapshot=folder / f"{name}-snapshot")
    took = time.perf_counter() - start, time.process_time() - busy
    answer.send((*took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def _measure(folder: Path, name: str, what: str) -> None:
    """Run a step in a fresh process, and print what that took."""
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_step, args=(str(folder), name, sender))
    process.start()
    sender.close()
    seconds, busy, megabytes = receiver.recv()
    process.join()
    print(f"{what}: {seconds:.1f} s, {busy:.1f} s of processor time, greatest memory {megabytes:,.0f} MB", flush=True)


def _apart(write: Callable[..., None], *args: object) -> None:
    """Write the data in a process of its own: a process is born with the greatest memory of its parent."""
    process = get_context("spawn").Process(target=write, args=args)
    process.start()
    process.join()
    assert process.exitcode == 0


@click.command()
@click.option("--rows", default=1_000_000, show_default=True, help="Rows of the table; 0 leaves it out.")
@click.option("--columns", default=60, show_default=True, help="Columns of the table; every sixth is a category.")
@click.option("--inputs", default=10, show_default=True, help="Columns of the table that the model reads.")
@click.option("--pictures", default=100_000, show_default=True, help="Pictures of the folder; 0 leaves it out.")
@click.option(
    "--form", type=click.Choice(["csv", "parquet"]), default="csv", show_default=True, help="The table's form."
)
def main(rows: int, columns: int, inputs: int, pictures: int, form: str) -> None:
    """Print the seconds and the greatest memory of each step."""
    with tempfile.TemporaryDirectory() as name:
        if rows:
            folder = Path(name, "table")
            (folder / "data").mkdir(parents=True)
            plan = _table_plan(columns, inputs, form)
            (folder / "plan.yaml").write_text(yaml.safe_dump(plan), encoding="utf-8")
            _apart(_write_table, folder / "data", rows, columns, form)
            _measure(folder, "first", f"ingest of {rows:,} rows x {columns} columns of {form.upper()}")
            _measure(folder, "verify", f"verify of {rows:,} rows x {columns} columns, {inputs} of them read")
            _measure(folder, "prepare", f"prepare of {rows:,} rows x {columns} columns, {inputs} of them read")
        if pictures:
            folder = Path(name, "folder")
            (folder / "data").mkdir(parents=True)
            image = {"height": SIDE, "width": SIDE, "channels": 1}
            (folder / "plan.yaml").write_text(
                yaml.safe_dump(_plan({"image": image}, images="pictures")), encoding="utf-8"
            )
            _apart(_write_pictures, folder / "data", pictures)
            time.sleep(3)  # files of this moment are not trusted to be settled
            _measure(folder, "first", f"ingest of {pictures:,} pictures")
            _measure(folder, "again", f"ingest of {pictures:,} pictures, none of them changed")
            changed = folder / "data" / "pictures" / CLASSES[0] / "000000.png"
            changed.write_bytes((folder / "data" / "pictures" / CLASSES[1] / "000001.png").read_bytes())
            _measure(folder, "changed", f"ingest of {pictures:,} pictures, one of them changed")
            _measure(folder, "verify", f"verify of {pictures:,} pictures")


if __name__ == "__main__":
    main()
