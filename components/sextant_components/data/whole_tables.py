"""Questions about all rows at once, answered by DuckDB within a bounded memory: the rest goes to disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import duckdb
    import polars as pl

# A sort of 1,000,000 rows x 60 columns went through with 384 MB and not with 256.
MEMORY_MB = 512
MB_A_COLUMN = 8  # DuckDB keeps blocks of each column for each thread
THREADS = 2
ROW_GROUP = 65_536  # rows held at a time: 60 numbers a row are 31 MB
PLACE = "__place"


@dataclass(frozen=True)
class Repeated:
    """The rows whose key another row has too: each one's place, and the first place of its key, by that and the place.

    Both have the shape (rows that repeat,).
    """

    places: NDArray[np.int64]
    firsts: NDArray[np.int64]

    @property
    def rows(self) -> int:
        """How many rows have a key that another has too."""
        return len(self.places)

    @property
    def first(self) -> list[int]:
        """The places of the first key that is there twice; empty without one."""
        found: list[int] = self.places[self.firsts == self.firsts[:1]].tolist()
        return found

    def groups(self) -> Iterator[list[int]]:
        """Yield the places of each such key, by the first of them."""
        for group in np.split(self.places, np.flatnonzero(np.diff(self.firsts)) + 1) if self.rows else ():
            yield group.tolist()


@contextmanager
def database(columns: int, folder: Path | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database in memory that spills into `folder`; `columns` is how wide its widest table is."""
    import duckdb

    with tempfile.TemporaryDirectory(dir=folder, prefix=".spill-") as spill:
        settings: dict[str, Any] = {
            "memory_limit": f"{max(MEMORY_MB, MB_A_COLUMN * columns)}MB",
            "temp_directory": spill,
            "threads": THREADS,
            "preserve_insertion_order": False,
        }
        connection = duckdb.connect(config=settings)
        try:
            yield connection
        finally:
            connection.close()


def row_groups(path: Path, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
    """Yield these columns, or all, of a Parquet file, one row group after the other."""
    import polars as pl
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):  # its iter_batches keeps what it has read until the file's end
            batch = pl.from_arrow(file.read_row_group(number, columns=None if columns is None else list(columns)))
            assert isinstance(batch, pl.DataFrame)
            yield batch


def quoted(name: str) -> str:
    """Return a column's name as SQL takes it."""
    return '"' + name.replace('"', '""') + '"'


def table_of(path: Path | str) -> str:
    """Return the SQL that reads a Parquet file, or the files of a pattern."""
    return "read_parquet('" + str(path).replace("'", "''") + "')"


def sort_rows(rows: Path, target: Path, keys: Sequence[str], columns: Sequence[str]) -> None:
    """Write these columns of a Parquet file to `target` by `keys`, nulls last, ties by PLACE, with `row_id` from 0."""
    order = ", ".join(f"{quoted(name)} ASC NULLS LAST" for name in [*keys, PLACE])
    chosen = ", ".join(quoted(name) for name in columns)
    with database(len(columns), target.parent) as connection:
        connection.execute("SET preserve_insertion_order = true")
        connection.execute(
            f"COPY (SELECT row_number() OVER () - 1 AS row_id, {chosen} "  # noqa: S608
            f"FROM (SELECT * FROM {table_of(rows)} ORDER BY {order})) TO '{str(target).replace(chr(39), chr(39) * 2)}' "
            f"(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP})"
        )


def repeated_places(batches: Iterable[pl.DataFrame], key: Sequence[str]) -> Repeated:
    """Return which rows repeat the key of another; `batches` have the key's columns, and come in order."""
    import pyarrow.parquet as pq

    by = ", ".join(quoted(name) for name in key)
    nothing = np.empty(0, dtype=np.int64)
    with tempfile.TemporaryDirectory(prefix="sextant-keys-") as folder:
        path, writer, start = Path(folder, "keys.parquet"), None, 0
        for batch in batches:
            table = batch.select(key).with_row_index(PLACE, start).to_arrow()
            writer = writer or pq.ParquetWriter(path, table.schema)
            writer.write_table(table)
            start += batch.height
        if writer is None:
            return Repeated(nothing, nothing)
        writer.close()
        with database(len(key), Path(folder)) as connection:
            connection.execute(
                f"CREATE TEMP TABLE repeated AS SELECT {by}, min({PLACE})::BIGINT AS {PLACE}_first "  # noqa: S608
                f"FROM {table_of(path)} GROUP BY {by} HAVING count(*) > 1"
            )
            same = " AND ".join(f"t.{quoted(name)} IS NOT DISTINCT FROM f.{quoted(name)}" for name in key)
            found = connection.execute(
                f"SELECT t.{PLACE}::BIGINT AS places, f.{PLACE}_first AS firsts FROM {table_of(path)} t "  # noqa: S608
                f"JOIN repeated f ON {same} ORDER BY 2, 1"
            ).fetchnumpy()
            return Repeated(np.asarray(found["places"]), np.asarray(found["firsts"]))
