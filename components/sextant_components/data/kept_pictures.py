"""The pictures of the last snapshot, kept in the home, so that a file that has not changed is not read again.

`pictures.parquet` is the last snapshot's own file, linked and not copied where the file system can; `index.parquet`
says of each of its rows which file it was, in which state. What cannot be trusted is read from the source.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sextant_components.data.file_states import SETTLED_NS, State, state_of
from sextant_plan.canonical import digest_of_bytes
from sextant_plan.errors import DataError

if TYPE_CHECKING:
    import polars as pl

STORED, INDEX = "pictures.parquet", "index.parquet"
BATCH_ROWS = 512  # pictures held in memory while they are copied


class Kept(NamedTuple):
    """One picture of the last snapshot: its file's state, its row, and its digest in hex."""

    state: State
    place: int
    digest: str


@dataclass
class Copied:
    """The digests of the pictures in their order, the files' states, and how many files were read."""

    digests: list[str] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    read: int = 0


def store_folder(home: Path, source: Path) -> Path:
    """Return where the pictures of a source's folder are kept."""
    return home / "pictures" / digest_of_bytes(str(source.resolve()).encode()).removeprefix("sha256:")[:16]


def copy_pictures(paths: Sequence[Path], target: Path, store: Path) -> Copied:
    """Write the pictures into `target` in their order, those that have not changed from `store`.

    Raises DataError if a picture cannot be read from disk.
    """
    import polars as pl
    import pyarrow.parquet as pq

    types = pl.Schema({"row_id": pl.Int64, "data": pl.Binary})
    form = types.to_frame().to_arrow().schema
    kept, stored, copied = _read_index(store), _Rows(store / STORED), Copied()
    begun = time.time_ns()
    with pq.ParquetWriter(target, form, compression="none") as writer:  # PNG and JPEG are compressed already
        for start in range(0, len(paths), BATCH_ROWS):
            batch = [_bytes(path, kept.get(str(path)), stored, copied) for path in paths[start : start + BATCH_ROWS]]
            row_ids = range(start, start + len(batch))
            # By way of polars, because pyarrow's own constructors import pandas, which takes two seconds.
            writer.write_table(pl.DataFrame({"row_id": row_ids, "data": batch}, schema=types).to_arrow())
    _keep(store, target, paths, copied, begun)
    return copied


def _bytes(path: Path, kept: Kept | None, stored: _Rows, copied: Copied) -> bytes:
    try:
        state = state_of(path)
        data = stored.at(kept.place) if kept is not None and kept.state == state else None
        digest = hashlib.sha256(data).hexdigest() if data is not None else ""
        if data is None or kept is None or digest != kept.digest:
            data = path.read_bytes()
            digest = hashlib.sha256(data).hexdigest()
            copied.read += 1
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})", "Restore the file, or remove its row") from error
    copied.digests.append(digest)
    copied.states.append(state)
    return data


class _Rows:
    """The stored pictures, read forwards once: rows are asked for in rising order, and others are not given."""

    def __init__(self, path: Path) -> None:
        self._rows = self._read(path) if path.exists() else iter(())
        self._place = -1

    def at(self, place: int) -> bytes | None:
        """Return a row's picture, or None if it was passed already or is not there."""
        while self._place < place:
            found = next(self._rows, None)
            if found is None:
                return None
            self._place += 1
            if self._place == place:
                return found
        return None

    @staticmethod
    def _read(path: Path) -> Iterator[bytes]:
        import pyarrow.parquet as pq

        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=["data"]):
                yield from batch.column(0).to_pylist()


def _read_index(store: Path) -> dict[str, Kept]:
    """Return what is kept of each file; nothing if there is none, or if it cannot be read."""
    import polars as pl

    try:
        index = pl.read_parquet(store / INDEX)
        rows = index.select("path", "size", "mtime_ns", "ctime_ns", "inode", "place", "digest").iter_rows()
    except (OSError, pl.exceptions.PolarsError):
        return {}
    return {path: Kept(State(*state), place, digest) for path, *state, place, digest in rows}


def _keep(store: Path, target: Path, paths: Sequence[Path], copied: Copied, begun: int) -> None:
    """Make `target` what is kept; without an index, which is written last, nothing of it would be trusted."""
    import polars as pl

    store.mkdir(parents=True, exist_ok=True)
    (store / INDEX).unlink(missing_ok=True)
    partial = store / f".{STORED}.{os.getpid()}"
    partial.unlink(missing_ok=True)
    try:
        os.link(target, partial)
    except OSError:  # another file system, or one without links
        shutil.copyfile(target, partial)
    partial.replace(store / STORED)
    index: pl.DataFrame = pl.DataFrame(copied.states, schema=list(State._fields), orient="row").with_columns(
        pl.Series("path", [str(path) for path in paths]),
        pl.Series("digest", copied.digests),
        pl.Series("place", range(len(paths))),
    )
    written = store / f".{INDEX}.{os.getpid()}"
    index.filter(pl.col("mtime_ns") < begun - SETTLED_NS).write_parquet(written)
    written.replace(store / INDEX)
