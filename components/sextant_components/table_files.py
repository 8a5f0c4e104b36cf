"""Reading a user's CSV, JSONL or Parquet table into columns of known types, with every fault named by file and row."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sextant_plan.errors import DataError

if TYPE_CHECKING:
    import polars as pl

SHOWN_ROWS = 5
_TRUTHS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def read_table(path: Path, *, limit: int | None = None) -> pl.DataFrame:
    """Read a table as it stands: a CSV (UTF-8, header first) all as text with empty cells missing, JSONL or Parquet.

    `limit` is how many rows to read at most.

    Raises DataError if the file is absent, has another suffix, cannot be parsed, or has no rows.
    """
    import polars as pl

    try:
        if path.suffix.lower() == ".csv":
            table = pl.read_csv(path, infer_schema=False, null_values=[""], n_rows=limit)
        elif path.suffix.lower() in {".parquet", ".pq"}:
            table = pl.read_parquet(path, n_rows=limit)
        elif path.suffix.lower() == ".jsonl":
            table = pl.read_ndjson(path, n_rows=limit, infer_schema_length=None)
        else:
            raise DataError(
                path, "not a .csv, .jsonl or .parquet file", "Convert the table, or correct its name in the plan"
            )
    except FileNotFoundError as error:
        raise DataError(path, "no such file", "Correct the path in the plan, or generate the data first") from error
    except pl.exceptions.NoDataError as error:
        raise DataError(path, "the file is empty", "Give a table with a header and at least one row") from error
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _unreadable(path, error) from error
    if table.height == 0:
        raise DataError(path, "the table has a header and no rows", "Give at least one row")
    return _plain(path, table)


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
        line = next(number for number, text in enumerate(path.read_bytes().split(b"\n"), 1) if not _is_utf8(text))
        return DataError(path, f"line {line} is not UTF-8", "Save the table as UTF-8")
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


def _plain(path: Path, table: pl.DataFrame) -> pl.DataFrame:
    """Bring Parquet's types to text, Boolean, Int64, Float64 and UTC microseconds."""
    import polars as pl

    casts: list[pl.Expr] = []
    for name, dtype in table.schema.items():
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
    if all(word is None or word in _TRUTHS for word in words):
        return pl.Series(column.name, [None if word is None else _TRUTHS[word] for word in words], dtype=pl.Boolean)
    return column


def as_instants(path: Path, column: pl.Series) -> pl.Series:
    """Return ISO 8601 text or timestamps as UTC microseconds; a time without a zone is taken as UTC.

    Raises DataError naming the rows that are missing or cannot be read.
    """
    import polars as pl

    if isinstance(column.dtype, pl.Datetime):
        instants = column
    else:
        values = [read_instant(value) for value in column.to_list()]
        instants = pl.Series(column.name, values, dtype=pl.Datetime("us", "UTC"))
    if instants.null_count():
        rows = instants.is_null().arg_true().to_list()
        raise DataError(
            path,
            f"column {column.name} has no readable time in {data_rows(rows)}",
            "Write every time as ISO 8601, such as 2026-03-01T09:30:00Z",
        )
    return instants


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
