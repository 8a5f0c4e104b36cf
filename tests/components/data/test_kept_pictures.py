"""A picture that has not changed since the last snapshot is not read again, and nothing else is believed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import polars as pl
import pytest

from sextant_components.data.kept_pictures import STORED, Copied, copy_pictures


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Six files, written long ago."""
    paths = [tmp_path / f"{number}.png" for number in range(6)]
    for path in paths:
        path.write_bytes(f"picture {path.stem}".encode())
        os.utime(path, (1_700_000_000, 1_700_000_000))
    return paths


def _copy(paths: list[Path], number: int) -> tuple[Copied, list[bytes]]:
    folder = paths[0].parent
    target = folder / f"snapshot-{number}.parquet"
    copied = copy_pictures(paths, target, folder / "store")
    return copied, pl.read_parquet(target).sort("row_id")["data"].to_list()


def test_only_what_is_new_or_changed_is_read(pictures: list[Path], tmp_path: Path) -> None:
    """One file changed, one added and one removed: two are read, and the result is that of reading all."""
    first, _ = _copy(pictures, 1)
    same, _ = _copy(pictures, 2)
    pictures[2].write_bytes(b"another picture")
    os.utime(pictures[2], (1_700_000_000, 1_700_000_000))
    added = tmp_path / "added.png"
    added.write_bytes(b"added")
    chosen = [*pictures[:4], added, pictures[5]]
    changed, content = _copy(chosen, 3)
    assert (first.read, same.read, changed.read) == (6, 0, 2)
    assert same.digests == first.digests
    assert content == [path.read_bytes() for path in chosen]


def test_a_file_that_was_written_a_moment_ago_is_read_again(pictures: list[Path]) -> None:
    """Within the clock's grain it could be written again and look the same."""
    soon = time.time() + 3600  # so that it is a moment ago however long the copy takes
    os.utime(pictures[0], (soon, soon))
    _copy(pictures, 1)
    assert _copy(pictures, 2)[0].read == 1


def test_another_order_is_right_and_reads_what_was_passed(pictures: list[Path]) -> None:
    """What is kept is read forwards once; the rest comes from the source."""
    _copy(pictures, 1)
    copied, content = _copy(pictures[::-1], 2)
    assert content == [path.read_bytes() for path in reversed(pictures)]
    assert copied.read == 5


def test_what_was_damaged_is_read_again(pictures: list[Path]) -> None:
    """The kept file is no source: each picture of it has to have its digest."""
    first, _ = _copy(pictures, 1)
    store = pictures[0].parent / "store"
    kept = pl.read_parquet(store / STORED)
    (store / STORED).unlink()
    damaged = [b"?" if place == 3 else data for place, data in enumerate(kept["data"])]
    kept.with_columns(pl.Series("data", damaged)).write_parquet(store / STORED)
    again, _ = _copy(pictures, 2)
    assert again.read == 1
    assert again.digests == first.digests
