"""A user's table as Parquet files in the home: read in pieces, and again only where a file of it has changed.

Each file of the table becomes one staged file with the values as they stand; what they are taken for is decided
when they are read. `staged.json` beside them says of each which file it was, in which state, and what its texts are.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from sextant_components.data.file_states import SETTLED_NS, State, state_of
from sextant_components.data.table_files import (
    TRUTHS,
    no_rows,
    parsing,
    partition_of,
    partitioned,
    scan_table,
    table_files,
)
from sextant_components.data.whole_tables import ROW_GROUP, row_groups
from sextant_plan.canonical import digest_of_bytes, digest_of_file
from sextant_plan.errors import DataError
from sextant_plan.files import locked, write_atomically
from sextant_plan.schema import Closed

if TYPE_CHECKING:
    import polars as pl

INDEX = "staged.json"
# A run beside this one may still read what this one has replaced.
KEPT_SECONDS = 86_400


class Texts(Closed):
    """What a column holds, if every value that is there can be read so: numbers, or true and false."""

    numbers: bool
    truths: bool


class Part(Closed):
    """One file of a table: its digest, its rows, the columns' texts, and the staged file with its own digest.

    `partition` are the columns that the names of its folders give; the staged file has them too.
    """

    state: State
    digest: str
    rows: int
    texts: dict[str, Texts]
    staged: str
    staged_digest: str
    partition: dict[str, str | None] = {}


_INDEX = TypeAdapter(dict[str, Part])


@dataclass(frozen=True)
class StagedTable:
    """A table in pieces. `parts` has each file's path with its part, in order; `read` counts those read anew."""

    store: Path
    parts: list[tuple[Path, Part]]
    read: int

    @property
    def height(self) -> int:
        """The rows of all files."""
        return sum(part.rows for _, part in self.parts)

    @cached_property
    def schema(self) -> dict[str, pl.DataType]:
        """Each column's type: that of all files, Float64 where they have numbers of two kinds, else text."""
        import polars as pl

        schemas = [dict(pl.read_parquet_schema(self._staged(part))) for _, part in self.parts]
        found: dict[str, pl.DataType] = {}
        for name in schemas[0]:
            kinds = {schema[name] for schema in schemas}
            mixed = pl.Float64() if all(kind.is_numeric() for kind in kinds) else pl.String()
            found[name] = kinds.pop() if len(kinds) == 1 else mixed
        return found

    def texts(self, name: str) -> Texts:
        """Return what every value of a column can be read as."""
        found = [part.texts[name] for _, part in self.parts]
        return Texts(numbers=all(each.numbers for each in found), truths=all(each.truths for each in found))

    def batches(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield these columns of all rows in the files' order, ROW_GROUP at most, each in its own file's type."""
        for _, part in self.parts:
            for batch in row_groups(self._staged(part), columns):
                yield batch.select(columns)

    def _staged(self, part: Part) -> Path:
        return self.store / part.staged


def store_of(home: Path, table: Path) -> Path:
    """Return where a table's staged files are kept."""
    return home.resolve() / "tables" / digest_of_bytes(str(table.resolve()).encode()).removeprefix("sha256:")[:16]


def stage_table(table: Path, home: Path) -> StagedTable:
    """Bring the home's copy of a table, one file or a folder of them, up to date; unchanged files are not read.

    Raises DataError for a file that cannot be read, and for two files of one table with other columns.
    """
    store = store_of(home, table)
    files = table_files(table)
    store.mkdir(parents=True, exist_ok=True)
    with locked(store / "lock"):
        known, parts, read = _read_index(store / INDEX), [], 0
        for file in files:
            part = known.get(str(file))
            partition = partition_of(table, file)
            if part is None or part.partition != partition or not _is_current(file, part, store):
                part, read = _stage(file, store, partition), read + 1
            parts.append((file, part))
        settled = {str(file): part for file, part in parts if part.state.mtime_ns < time.time_ns() - SETTLED_NS}
        write_atomically(store / INDEX, _INDEX.dump_json(settled))
        _sweep(store, {part.staged for _, part in parts})
    _require_equal_columns(parts)
    return StagedTable(store, parts, read)


def _is_current(file: Path, part: Part, store: Path) -> bool:
    """Tell whether a file is what it was, and its staged form still what was written."""
    try:
        return state_of(file) == part.state and digest_of_file(store / part.staged) == part.staged_digest
    except OSError:
        return False


def _stage(file: Path, store: Path, partition: dict[str, str | None]) -> Part:
    import pyarrow.parquet as pq

    partial = store / f".{os.getpid()}.parquet"
    with parsing(file):
        state = state_of(file)
        rows_of_file = partitioned(scan_table(file), partition)
        rows_of_file.sink_parquet(partial, compression="lz4", row_group_size=ROW_GROUP)
        digest = digest_of_file(file)
    rows = pq.read_metadata(partial).num_rows
    if rows == 0:
        partial.unlink()
        raise no_rows(file)
    texts, staged_digest = _texts(partial), digest_of_file(partial)
    name = f"{staged_digest.removeprefix('sha256:')[:32]}.parquet"
    partial.replace(store / name)
    return Part(
        state=state,
        digest=digest,
        rows=rows,
        texts=texts,
        staged=name,
        staged_digest=staged_digest,
        partition=partition,
    )


def _texts(staged: Path) -> dict[str, Texts]:
    """Return what the values of each column can be read as, by one pass over the staged file."""
    import polars as pl

    asked: list[pl.Expr] = []
    for name, dtype in pl.read_parquet_schema(staged).items():
        column = pl.col(name)
        if dtype == pl.String:
            plain = column.str.strip_chars()
            numbers = plain.cast(pl.Float64, strict=False).is_not_null() | column.is_null()
            truths = plain.str.to_lowercase().is_in(list(TRUTHS))
        else:
            numbers = pl.lit(value=dtype.is_numeric() or dtype == pl.Boolean)
            truths = (column == 0) | (column == 1) if dtype.is_numeric() else pl.lit(value=dtype == pl.Boolean)
        asked += [numbers.all().alias(f"numbers {name}"), truths.all().alias(f"truths {name}")]
    found = pl.scan_parquet(staged, glob=False).select(asked).collect(engine="streaming").row(0, named=True)
    names = pl.read_parquet_schema(staged)
    return {name: Texts(numbers=found[f"numbers {name}"], truths=found[f"truths {name}"]) for name in names}


def _require_equal_columns(parts: Sequence[tuple[Path, Part]]) -> None:
    (first, one), *others = parts
    for file, part in others:
        differing = sorted(one.texts.keys() ^ part.texts.keys())
        if differing:
            where = "lacks" if differing[0] in one.texts else "alone has"
            problem = f"it {where} the column {differing[0]}, unlike {first.name}"
            raise DataError(file, problem, "Give every file of the table the same columns")


def _read_index(path: Path) -> dict[str, Part]:
    """Return what is known of each file; nothing if it cannot be read."""
    try:
        return _INDEX.validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return {}


def _sweep(store: Path, used: set[str]) -> None:
    for path in store.glob("*.parquet"):
        if path.name not in used and path.stat().st_mtime < time.time() - KEPT_SECONDS:
            path.unlink(missing_ok=True)
