"""The plan's on-demand features as columns of a table, computed as the server computes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sextant_components.encoding import by_rule
from sextant_components.table_files import as_text
from sextant_plan.schema import Plan
from sextant_serving.on_demand import Transform, on_demand_specs, request_values

if TYPE_CHECKING:
    import polars as pl


def with_computed(table: pl.DataFrame, transforms: Sequence[Transform], requested: pl.DataFrame) -> pl.DataFrame:
    """Return the table of `view__feature` columns with those that are computed from them.

    `requested` has the same rows' values of the columns that come with a request, as `requested_columns` gives them.
    """
    for transform in transforms:
        if set(transform.spec.inputs) <= set(table.columns):  # else the model reads nothing of it
            stored = {name: table[full].to_list() for full, name in transform.names.items()}
            asked = {column.name: requested[column.name].to_list() for column in transform.spec.request}
            found = transform.compute(stored | asked)
            view = transform.spec.view
            table = table.with_columns(_series(f"{view}__{name}", values) for name, values in found.items())
    return table


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
