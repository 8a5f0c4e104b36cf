"""Fitting the model's columns on the training rows: vocabularies of categories, defaults of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sextant_components.data.sources import RESERVED
from sextant_components.data.table_files import as_booleans, as_numbers, as_text
from sextant_plan.bundle import Column
from sextant_plan.errors import DataError
from sextant_plan.reference import FeatureReference, bin_index, profile
from sextant_plan.schema import Plan
from sextant_serving.on_demand import feast_name

if TYPE_CHECKING:
    import polars as pl

MAX_VOCABULARY = 1000  # beyond it a column is a key or free text, and its drift counters would flood Prometheus
MAX_CATEGORY_BINS = 50  # a larger vocabulary is profiled by quantiles of its indices, like a number


def model_inputs(plan: Plan, rows: pl.DataFrame, features: pl.DataFrame | None) -> pl.DataFrame:
    """Return `row_id` and what the model reads of each row before encoding: request columns, then features.

    `features` has one column `view__feature` for each feature of the plan. Raises DataError if two inputs
    would have one name.
    """
    chosen = {name: by_rule(plan, rows[name]) for name in plan.model.inputs.columns}
    for name in plan.model.inputs.features:
        view, _, column = name.partition(":")
        if column in chosen or column in RESERVED or column == "label":
            raise DataError(
                f"features.views.{view}",
                f"the feature {column} has the name of another input, of the label, or of a column of Sextant's own",
                "Rename it in its table; a request could not tell them apart",
            )
        assert features is not None
        chosen[column] = features[f"{feast_name(view)}__{column}"]
    return rows.select("row_id").with_columns(series.alias(name) for name, series in chosen.items())


def by_rule(plan: Plan, column: pl.Series) -> pl.Series:
    """Return a column of a table in the type of its rule, where all its values can be read so."""
    kind = plan.data.columns[column.name].type
    if kind == "number":
        return as_numbers(column)
    return as_booleans(column) if kind == "boolean" else as_text(column)


def fit_columns(plan: Plan, train: pl.DataFrame) -> list[Column]:
    """Return the model's columns, fitted on the training rows of `model_inputs` alone.

    Raises DataError for a category with more than MAX_VOCABULARY values.
    """
    features = [name.partition(":") for name in plan.model.inputs.features]
    places: list[tuple[str, str | None]] = [(name, None) for name in plan.model.inputs.columns]
    places += [(column, feast_name(view)) for view, _, column in features]
    rules = plan.data.columns
    return [_fit(train[name], view, clip=0.0 if view else rules[name].clip) for name, view in places]


def _fit(column: pl.Series, view: str | None, *, clip: float) -> Column:
    import polars as pl

    if column.dtype == pl.String:
        vocabulary = sorted(column.drop_nulls().unique().to_list())
        if len(vocabulary) > MAX_VOCABULARY:
            raise DataError(
                f"column {column.name}",
                f"{len(vocabulary)} different values; a category that a model reads has at most {MAX_VOCABULARY}",
                "Group the values, declare the column a number, or leave it out of the model's inputs",
            )
        return Column(name=column.name, view=view, vocabulary=vocabulary)
    numbers = column.cast(pl.Float64).drop_nulls().to_numpy()
    finite = numbers[np.isfinite(numbers)]
    if not finite.size:
        return Column(name=column.name, view=view)
    low, high = np.quantile(finite, [clip, 1 - clip]).tolist() if clip else (None, None)
    return Column(name=column.name, view=view, default=float(np.median(finite)), low=low, high=high)


def encoded(inputs: pl.DataFrame, columns: Sequence[Column]) -> pl.DataFrame:
    """Return each model column as the float64 of the float32 that the server computes for the same request."""
    import polars as pl

    from sextant_serving.preprocessing import encode_column

    series = [
        pl.Series(column.name, encode_column(inputs[column.name].to_list(), column).astype(np.float64))
        for column in columns
    ]
    return pl.DataFrame(series)


def column_reference(column: Column, values: NDArray[np.float64], bins: int) -> FeatureReference:
    """Return how the encoded training values spread: a bin for each category, `bins` at quantiles for a number."""
    if column.vocabulary is None or len(column.vocabulary) > MAX_CATEGORY_BINS:
        return profile(column.name, values, bins)
    edges = np.arange(1, len(column.vocabulary) + 1) - 0.5  # the last bin holds what is unknown
    counts = np.bincount(bin_index(values, edges), minlength=len(edges) + 1)
    return FeatureReference(name=column.name, edges=edges.tolist(), counts=counts.tolist())
