"""The plan's rules for columns and for pairs of them, each checked against every row."""

from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from sextant_components.data.table_files import as_booleans, as_numbers, as_text, read_instant
from sextant_plan.schema import ColumnRule

if TYPE_CHECKING:
    import polars as pl


_COMPARISONS: dict[str, Callable[[pl.Series, pl.Series], pl.Series]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


def violations(column: pl.Series, rule: ColumnRule) -> dict[str, pl.Series]:
    """Return, for each part of the rule that the column breaks, a mask of the rows that break it.

    The parts are `required`, `type`, `min`, `max`, `values` and `unique`; of repeated values the first keeps
    its place. A missing value breaks `required` alone.
    """
    present = column.is_not_null()
    sound = _readable(column, rule)
    broken = {"type": present & ~sound}
    if rule.required:
        broken["required"] = ~present
    if rule.min is not None or rule.max is not None:
        numbers = _numbers(column)
        if rule.min is not None:
            broken["min"] = (numbers < rule.min).fill_null(value=False)
        if rule.max is not None:
            broken["max"] = (numbers > rule.max).fill_null(value=False)
    if rule.values is not None:
        broken["values"] = present & ~as_text(column).is_in(rule.values).fill_null(value=False)
    if rule.unique:
        broken["unique"] = present & ~column.is_first_distinct()
    return {part: mask for part, mask in broken.items() if mask.any()}


def row_violations(left: pl.Series, comparison: str, right: pl.Series, *, kind: str) -> pl.Series:
    """Return a mask of the rows in which a comparison of two columns of the type `kind` does not hold.

    Numbers and times are compared as such, all else as text; a row that lacks one of the values breaks nothing.
    """
    held: pl.Series = _COMPARISONS[comparison](_comparable(left, kind), _comparable(right, kind))
    return ~held.fill_null(value=True)


def _comparable(column: pl.Series, kind: str) -> pl.Series:
    import polars as pl

    if kind == "number":
        return _numbers(column)
    if kind == "timestamp":
        values = [read_instant(value) for value in column.to_list()]
        return pl.Series(column.name, values, dtype=pl.Datetime("us", "UTC"))
    return as_text(as_booleans(column) if kind == "boolean" else column)


def _readable(column: pl.Series, rule: ColumnRule) -> pl.Series:
    """Return a mask of the rows whose value can be read as the rule's type."""
    import polars as pl

    if rule.type == "number":
        return _numbers(column).is_not_null()
    if rule.type == "boolean":
        if as_booleans(column).dtype == pl.Boolean:
            return column.is_not_null()
        words = [as_booleans(pl.Series([value], dtype=column.dtype)).dtype == pl.Boolean for value in column]
        return pl.Series(words, dtype=pl.Boolean)
    if rule.type == "timestamp" and not isinstance(column.dtype, pl.Datetime):
        return pl.Series([_is_time(value) for value in column.to_list()], dtype=pl.Boolean)
    return column.is_not_null()


def _numbers(column: pl.Series) -> pl.Series:
    """Return float64 with null where the value is missing or no number."""
    import polars as pl

    if column.dtype == pl.String:
        return column.str.strip_chars().cast(pl.Float64, strict=False).fill_nan(None)
    numbers = as_numbers(column)
    return numbers if numbers.dtype == pl.Float64 else pl.Series(column.name, [None] * len(column), dtype=pl.Float64)


def _is_time(value: object) -> bool:
    try:
        datetime.fromisoformat(value) if isinstance(value, str) else datetime.fromisoformat("")
    except ValueError:
        return False
    return True
