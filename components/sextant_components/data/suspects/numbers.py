"""Values far from the rest of their column, and columns whose values change over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sextant_components.data.suspects.suspect import OUTLIER, Suspect
from sextant_components.data.table_files import as_numbers
from sextant_plan.reference import bin_index, profile, stability_index
from sextant_plan.schema import Plan

if TYPE_CHECKING:
    import polars as pl

FAR = 8.0  # robust standard deviations: one value in 10^15 of a normal column, while a wrong unit lies beyond 10
SHIFTED = 0.25  # nats, the usual mark of a great change of a population (Siddiqi 2006)
MIN_HALF = 100  # rows on each side of the middle, below which a histogram of ten bins says little


def declared_numbers(plan: Plan) -> list[str]:
    """Return the columns that the plan declares numbers."""
    return [name for name, rule in plan.data.columns.items() if rule.type == "number"]


def number_columns(plan: Plan, rows: pl.DataFrame) -> dict[str, NDArray[np.float64]]:
    """Return those of the declared columns that are numbers in each row, missing as NaN."""
    declared = [name for name in declared_numbers(plan) if name in rows.columns]
    columns = {name: as_numbers(rows[name]) for name in declared}
    return {name: column.to_numpy().astype(np.float64) for name, column in columns.items() if column.dtype.is_numeric()}


def outlier_suspects(
    row_ids: Sequence[int] | NDArray[np.int64], columns: Mapping[str, NDArray[np.float64]]
) -> list[Suspect]:
    """Return the values that lie FAR from their column's median, by the median absolute deviation.

    A column of positive numbers is measured in logarithms: there a value in a thousandth of the unit lies as
    far off as one in a thousandfold, and the long tail of prices or areas does not.
    """
    found: list[Suspect] = []
    for name, values in columns.items():
        present = values[np.isfinite(values)]
        positive = present.size > 0 and present.min() > 0
        distance = robust_distance(np.log(values) if positive else values)
        far = np.flatnonzero(distance > FAR).tolist()
        middle = float(np.median(present)) if far else 0.0
        for index in far:
            detail = f"{name} is {values[index]:g}, its median {middle:g}"
            found.append(Suspect(int(row_ids[index]), OUTLIER, detail, round(float(FAR / distance[index]), 6)))
    return found


def robust_distance(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each value's distance to the median in robust standard deviations (1.4826 MAD), 0 where missing.

    A column of which more than half is one value has no spread to measure by: all its distances are 0.
    """
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return np.zeros_like(values)
    middle = np.median(finite)
    spread = 1.4826 * np.median(np.abs(finite - middle))
    if spread == 0:
        return np.zeros_like(values)
    return np.where(np.isfinite(values), np.abs(values - middle) / spread, 0.0)


def shifted_columns(times: pl.Series, columns: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
    """Return the columns whose later half differs from the earlier one, with the bias-corrected PSI in nats."""
    order = np.argsort(times.to_numpy(), kind="stable")
    shifted: dict[str, float] = {}
    for name, values in columns.items():
        earlier, later = (half[np.isfinite(half)] for half in np.array_split(values[order], 2))
        if min(len(earlier), len(later)) < MIN_HALF:
            continue
        reference = profile(name, earlier)
        counts = np.bincount(bin_index(later, reference.edges), minlength=len(reference.counts))
        index = stability_index(reference.counts, counts, corrected=True)
        if index > SHIFTED:
            shifted[name] = round(index, 4)
    return shifted
