"""The plan's on-demand features as columns of a table, computed from stored ones as the server computes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sextant_components.table_files import as_text
from sextant_serving.on_demand import Transform

if TYPE_CHECKING:
    import polars as pl


def with_computed(table: pl.DataFrame, transforms: Sequence[Transform]) -> pl.DataFrame:
    """Return the table of `view__feature` columns with those that are computed from them."""
    for transform in transforms:
        if set(transform.spec.inputs) <= set(table.columns):  # else the model reads nothing of it
            found = transform.compute({name: table[full].to_list() for full, name in transform.names.items()})
            view = transform.spec.view
            table = table.with_columns(_series(f"{view}__{name}", values) for name, values in found.items())
    return table


def _series(name: str, values: list[Any]) -> pl.Series:
    """Return float64 where every value is a number or missing, else text."""
    import polars as pl

    numbers = all(value is None or isinstance(value, int | float) for value in values)
    return pl.Series(name, values, dtype=pl.Float64) if numbers else as_text(pl.Series(name, values, strict=False))
