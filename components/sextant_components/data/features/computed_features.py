"""The plan's on-demand features as columns of a table, computed as the server computes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sextant_components.data.encoding import by_rule
from sextant_components.data.table_files import as_text
from sextant_plan.schema import Plan
from sextant_serving.on_demand import Transform, on_demand_specs, request_values

if TYPE_CHECKING:
    import polars as pl

PIECE_ROWS = 50_000  # computed at a time: of ten features, some 16 MB of Python's numbers


def with_computed(table: pl.DataFrame, transforms: Sequence[Transform], requested: pl.DataFrame) -> pl.DataFrame:
    """Return the table of `view__feature` columns with those that are computed from them.

    `requested` has the same rows' values of the columns that come with a request, as `requested_columns` gives them.
    """
    for transform in transforms:
        if set(transform.spec.inputs) <= set(table.columns):  # else the model reads nothing of it
            table = table.with_columns(_computed(table, transform, requested))
    return table


def _computed(table: pl.DataFrame, transform: Transform, requested: pl.DataFrame) -> list[pl.Series]:
    """Return the transform's columns, computed in pieces: all rows as lists of Python would be many times larger.

    A server computes over as many rows as happen to come together, so no function may lean on seeing all of them.
    """
    pieces: dict[str, list[pl.Series]] = {name: [] for name in transform.spec.columns}
    for start in range(0, max(1, table.height), PIECE_ROWS):
        here = table.slice(start, PIECE_ROWS)
        stored = {name: here[full].to_list() for full, name in transform.names.items()}
        asked = {name: requested[name].slice(start, PIECE_ROWS).to_list() for name in transform.requested}
        for name, values in transform.compute(stored | asked).items():
            pieces[name].append(_series(f"{transform.spec.view}__{name}", values))
    return [_joined(parts) for parts in pieces.values()]


def _joined(parts: list[pl.Series]) -> pl.Series:
    """Return the pieces of a column as one: text where one of them is."""
    import polars as pl

    alike = len({part.dtype for part in parts}) == 1
    return pl.concat(parts if alike else [as_text(part) for part in parts])


def requested_columns(plan: Plan, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the columns of the rows that on-demand features read, with the values that a request would bring."""
    import polars as pl

    specs = {column.name: column for each in on_demand_specs(plan) for column in each.request}
    return pl.DataFrame(
        {name: _series(name, request_values(by_rule(plan, rows[name]).to_list(), c)) for name, c in specs.items()}
    )


def _series(name: str, values: list[Any]) -> pl.Series:
    """Return float64 where every value is a number or missing, else text."""
    import polars as pl

    numbers = all(value is None or isinstance(value, int | float) for value in values)
    return pl.Series(name, values, dtype=pl.Float64) if numbers else as_text(pl.Series(name, values, strict=False))
