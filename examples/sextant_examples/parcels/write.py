"""The parcels on disk: pictures, the order table and the scales' measurements, all from one seed."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from sextant_examples.output import write_table
from sextant_examples.parcels.measures import make_measures, write_measures
from sextant_examples.parcels.render import DARK_HALL, View, render_picture
from sextant_examples.parcels.table import COLUMNS, DARKENED, Passage, Shift, image_name, make_passages

CHUNK = 200  # pictures a task: two seconds of work, little to lose at the end


def write_parcels(
    out: Path, *, rows: int, seed: int, shift: Shift = "none", workers: int = 1, pictures: bool = True
) -> None:
    """Write `table.csv`, `measures.parquet` and `images/*.jpg`; equal arguments give equal bytes.

    With one worker the pictures are drawn in this process; without `pictures` none are.
    """
    ((out / "images") if pictures else out).mkdir(parents=True, exist_ok=True)
    passages = make_passages(rows, seed, shift)
    write_table(out / "table.csv", COLUMNS, (passage.row(index) for index, passage in enumerate(passages)))
    write_measures(out / "measures.parquet", make_measures(passages, seed))
    if not pictures:
        return
    light = DARK_HALL if shift in DARKENED else 1.0
    jobs = [(out, start, passages[start : start + CHUNK], seed, light) for start in range(0, rows, CHUNK)]
    if workers == 1:
        for job in jobs:
            _draw(*job)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for done, _ in enumerate(pool.map(_draw, *zip(*jobs, strict=True)), start=1):
            print(f"\r{min(done * CHUNK, rows)} of {rows} pictures", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def _draw(out: Path, start: int, passages: Sequence[Passage], seed: int, light: float) -> None:
    for index, passage in enumerate(passages, start=start):
        view = View(passage.content, passage.supplier, light)
        (out / "images" / image_name(index)).write_bytes(render_picture(view, (seed, passage.picture)))
