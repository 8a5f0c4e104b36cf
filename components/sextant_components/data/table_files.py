"""Reading a user's CSV, JSONL or Parquet table into columns of known types, with every fault named by file and row."""

from __future__ import annotations

import codecs
import csv
import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from sextant_plan.errors import DataError

if TYPE_CHECKING:
    import polars as pl

SHOWN_ROWS = 5
NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"
HEAD_BYTES = 65536  # looked at before a file is taken for text
_MAGIC = {
    b"PK\x03\x04": "a zip archive, such as an Excel workbook,",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"PAR1": "a Parquet file",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"%PDF": "a PDF document",
    b"SQLite format 3": "an SQLite database",
}
_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x78\x01", b"\x78\x9c", b"\x78\xda")  # gzip, zstd, zlib
TRUTHS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def table_files(path: Path) -> list[Path]:
    """Return the file itself, or every table below a folder in the order of its name; hidden files do not count.

    Raises DataError for a folder without one, or with a file of another kind.
    """
    if not path.is_dir():
        return [path]
    found = sorted(each for each in path.rglob("*") if each.is_file() and not _is_hidden(each.relative_to(path)))
    if not found:
        raise DataError(path, "the folder has no table", "Put .csv, .jsonl or .parquet files into it")
    for each in found:
        _require_table(each)
    return found


def _is_hidden(name: Path) -> bool:
    """Tell whether a name is one that a writer of partitions keeps for itself, such as _SUCCESS."""
    return any(part.startswith((".", "_")) for part in name.parts)


def partition_of(table: Path, file: Path) -> dict[str, str | None]:
    """Return the columns that the folders' names between a table and a file of it give, such as `region=eu`.

    A value stands percent-encoded where a name cannot hold it, and Hive's own word for none is None.
    """
    parts = file.relative_to(table).parent.parts if file != table else ()
    pairs = (part.partition("=") for part in parts if "=" in part[1:])
    return {unquote(key): None if value == NO_PARTITION else unquote(value) for key, _, value in pairs}


def partitioned(rows: pl.LazyFrame, partition: Mapping[str, str | None]) -> pl.LazyFrame:
    """Return a file's rows with its partition's columns as text; a column that the file has itself stays as it is."""
    import polars as pl

    own = rows.collect_schema()
    return rows.with_columns(
        pl.lit(value, dtype=pl.String).alias(name) for name, value in partition.items() if name not in own
    )


def _require_table(path: Path) -> None:
    if path.suffix.lower() not in {".csv", ".parquet", ".pq", ".jsonl"}:
        remedy = "Convert the table, or correct its name in the plan"
        raise DataError(path, "not a .csv, .jsonl or .parquet file", remedy)


def read_table(path: Path, *, limit: int | None = None) -> pl.DataFrame:
    """Read a table as it stands: a CSV (UTF-8, header first) all as text with empty cells missing, JSONL or Parquet.

    A folder is the table of all files below it, with the columns that its folders' names give. `limit` is how many rows
    of each file to read at most.

    Raises DataError if the file is absent, has another suffix, cannot be parsed, or has no rows.
    """
    import polars as pl

    tables = []
    for file in table_files(path):
        with parsing(file):
            scanned = partitioned(scan_table(file), partition_of(path, file))
            table = (scanned if limit is None else scanned.head(limit)).collect()
        if table.height == 0:
            raise no_rows(file)
        tables.append(table)
    return pl.concat(tables, how="diagonal_relaxed")


def scan_table(path: Path) -> pl.LazyFrame:
    """Return a table's rows as they stand, to be read in pieces under `parsing`; types as `read_table` gives them."""
    import polars as pl

    _require_table(path)
    if path.suffix.lower() == ".csv":
        _refuse_binary(path)
        return pl.scan_csv(path, infer_schema=False, null_values=[""], glob=False)
    if path.suffix.lower() == ".jsonl":
        return _plain(path, pl.scan_ndjson(path, infer_schema_length=None))
    return _plain(path, pl.scan_parquet(path, glob=False))


def no_rows(path: Path) -> DataError:
    """Return the error for a table without a row."""
    return DataError(path, "the table has a header and no rows", "Give at least one row")


@contextmanager
def parsing(path: Path) -> Iterator[None]:
    """Say what a parser's own errors mean for the user's file."""
    import polars as pl

    try:
        yield
    except FileNotFoundError as error:
        raise DataError(path, "no such file", "Correct the path in the plan, or generate the data first") from error
    except pl.exceptions.NoDataError as error:
        raise DataError(path, "the file is empty", "Give a table with a header and at least one row") from error
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _unreadable(path, error) from error


def _refuse_binary(path: Path) -> None:
    """Refuse what is no text: a parser would take it for a header without rows, or for a column of nonsense."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    kind = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)
    if kind is not None:
        raise DataError(path, f"the file is {kind} and no CSV", "Save the table as CSV in UTF-8, or name it as it is")
    if head.startswith(_COMPRESSED):
        return  # the parser unpacks it
    if b"\0" in head:
        problem = "the file is binary, or text in UTF-16: it holds zero bytes"
        raise DataError(path, problem, "Save the table as CSV in UTF-8")
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError as error:
        raise _not_utf8(path, head.count(b"\n", 0, error.start) + 1) from error


def _not_utf8(path: Path, line: int) -> DataError:
    return DataError(path, f"line {line} is not UTF-8", "Save the table as UTF-8")


def _unreadable(path: Path, error: Exception) -> DataError:
    """Return the error for a file that no parser takes, with the line at fault if it is a CSV."""
    if path.suffix.lower() != ".csv":
        kind = "JSON lines" if path.suffix.lower() == ".jsonl" else "Parquet"
        return DataError(path, f"cannot be read as {kind} ({type(error).__name__})", "Write the whole file again")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file)
            width = len(next(reader, []))
            for row in reader:
                if len(row) > width:
                    problem = f"line {reader.line_num} has {len(row)} cells and the header {width}"
                    return DataError(path, problem, "Quote a cell that holds a comma, or remove what is too much")
    except UnicodeDecodeError:
        with path.open("rb") as file:
            return _not_utf8(path, next(number for number, text in enumerate(file, 1) if not _is_utf8(text)))
    except (csv.Error, OSError):
        pass
    remedy = "Write it as UTF-8 with as many cells in each row as in the header"
    return DataError(path, f"cannot be parsed as CSV ({type(error).__name__})", remedy)


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _plain(path: Path, table: pl.LazyFrame) -> pl.LazyFrame:
    """Bring Parquet's types to text, Boolean, Int64, Float64 and UTC microseconds."""
    import polars as pl

    casts: list[pl.Expr] = []
    for name, dtype in table.collect_schema().items():
        column = pl.col(name)
        if dtype in (pl.String, pl.Boolean):
            continue
        if dtype.is_integer() and dtype != pl.UInt64:
            casts.append(column.cast(pl.Int64))
        elif dtype.is_numeric():
            casts.append(column.cast(pl.Float64))
        elif dtype in (pl.Categorical, pl.Enum, pl.Null):
            casts.append(column.cast(pl.String))
        elif dtype == pl.Date:
            casts.append(column.cast(pl.Datetime("us")).dt.replace_time_zone("UTC"))
        elif isinstance(dtype, pl.Datetime):
            utc = column.dt.convert_time_zone("UTC") if dtype.time_zone else column.dt.replace_time_zone("UTC")
            casts.append(utc.dt.cast_time_unit("us"))
        else:
            raise DataError(path, f"column {name} has the type {dtype}", "Store text, numbers, booleans or timestamps")
    return table.with_columns(casts)


def require_columns(path: Path, present: Collection[str], needed: dict[str, str]) -> None:
    """Check that every needed column is there; `needed` maps a column to the plan's key that names it.

    Raises DataError for the first that is not, with the closest name that is.
    """
    for name, key in needed.items():
        if name not in present:
            close = difflib.get_close_matches(name, present, n=1)
            hint = f"Did you mean {close[0]}?" if close else f"It has: {', '.join(sorted(present))}"
            raise DataError(path, f"there is no column {name}, which {key} names", hint)


def as_text(column: pl.Series) -> pl.Series:
    """Return a column as text, the way a category is written in a vocabulary: 3 and 3.0 are `3`."""
    import polars as pl

    if column.dtype == pl.String:
        return column
    from sextant_serving.preprocessing import category_text

    values = [None if value is None else category_text(value) for value in column.to_list()]
    return pl.Series(column.name, values, dtype=pl.String)


def as_numbers(column: pl.Series) -> pl.Series:
    """Return a column as float64, NaN as missing; where one value is no number the column stays as it is."""
    import polars as pl

    if column.dtype == pl.String:
        numbers = column.str.strip_chars().cast(pl.Float64, strict=False)
    elif column.dtype.is_numeric() or column.dtype == pl.Boolean:
        numbers = column.cast(pl.Float64)
    else:
        return column
    return numbers.fill_nan(None) if numbers.null_count() == column.null_count() else column


def as_booleans(column: pl.Series) -> pl.Series:
    """Return true/false, yes/no or 1/0 as Boolean; where one value is none of these the column stays as it is."""
    import polars as pl

    words = [None if word is None else word.strip().lower() for word in as_text(column).to_list()]
    if all(word is None or word in TRUTHS for word in words):
        return pl.Series(column.name, [None if word is None else TRUTHS[word] for word in words], dtype=pl.Boolean)
    return column


def as_instants(path: Path, column: pl.Series) -> pl.Series:
    """Return ISO 8601 text or timestamps as UTC microseconds; a time without a zone is taken as UTC.

    Raises DataError naming the rows that are missing or cannot be read.
    """
    found = readable_instants(column)
    if found.null_count():
        raise unreadable_times(path, column.name, found.is_null().arg_true().to_list())
    return found


def readable_instants(column: pl.Series) -> pl.Series:
    """Return times as UTC microseconds as `as_instants` does, null where there is none that can be read."""
    import polars as pl

    if isinstance(column.dtype, pl.Datetime):
        return column
    values = [read_instant(value) for value in column.to_list()]
    return pl.Series(column.name, values, dtype=pl.Datetime("us", "UTC"))


def unreadable_times(path: Path, name: str, rows: Sequence[int]) -> DataError:
    """Return the error for rows, counted from 0, whose time is missing or cannot be read."""
    return DataError(
        path,
        f"column {name} has no readable time in {data_rows(rows)}",
        "Write every time as ISO 8601, such as 2026-03-01T09:30:00Z",
    )


def read_instant(value: object) -> datetime | None:
    """Return ISO 8601 text or a timestamp as UTC, without a zone taken as UTC; None for all else."""
    try:
        found = datetime.fromisoformat(value.strip()) if isinstance(value, str) else value
    except ValueError:
        return None
    if not isinstance(found, datetime):
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def data_rows(indices: Sequence[int]) -> str:
    """Return `data rows 3, 7 and 12 more`: 1-based, the header not counted, at most SHOWN_ROWS of them."""
    shown = ", ".join(str(index + 1) for index in indices[:SHOWN_ROWS])
    more = f" and {len(indices) - SHOWN_ROWS} more" if len(indices) > SHOWN_ROWS else ""
    return f"data row{'s' if len(indices) > 1 else ''} {shown}{more}"
