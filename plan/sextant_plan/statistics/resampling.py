"""The bootstrap: of rows, within strata, or of whole groups of rows that are not independent."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sextant_plan.statistics.groups import alike_rows
from sextant_plan.verdicts import Estimate

Statistic = Callable[[NDArray[np.intp]], float]
Draw = Callable[[np.random.Generator], NDArray[np.intp]]


def bootstrap(
    statistic: Statistic,
    rows: int,
    confidence: float,
    *,
    strata: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Return a statistic of `rows` rows with one-sided basic bootstrap bounds (Davison and Hinkley 1997, 5.2).

    `statistic` takes row indices, shape (rows,), and returns one number; reading two models' answers at the same
    indices makes it paired. `strata`, shape (rows,), keeps each stratum at its size, where the sample was drawn so.
    `groups`, shape (rows,), resamples whole groups, where rows of one group resemble each other; n counts the groups
    then, and fewer where their sizes differ (`alike_rows`). Give one of the two at most. The bounds depend on the seed
    alone, so evidence repeats. Only for statistics without a closed form: where the rows are all alike the bounds have
    no width.
    """
    if strata is not None and groups is not None:
        raise ValueError("give strata or groups, not both")
    if rows == 0:
        return Estimate(math.nan, -math.inf, math.inf, 0, confidence)
    n, draw = rows, _draw_rows(rows)
    if strata is not None:
        draw = _draw_within(_members(strata, rows))
    if groups is not None:
        members = _members(groups, rows)
        n, draw = math.floor(alike_rows(np.asarray(groups)) + 1e-9), _draw_groups(members)
    generator = np.random.default_rng(seed)
    value = statistic(np.arange(rows, dtype=np.intp))
    draws = np.array([statistic(draw(generator)) for _ in range(resamples)])
    low, high = (float(2 * value - np.quantile(draws, tail)) for tail in (confidence, 1 - confidence))
    return Estimate(value, low, high, n, confidence)


def _members(labels: ArrayLike, rows: int) -> list[NDArray[np.intp]]:
    """Return the rows of each label."""
    column = np.asarray(labels)
    if column.shape != (rows,):
        raise ValueError(f"labels of shape {column.shape} for {rows} rows")
    _, place = np.unique(column, return_inverse=True)
    order = np.argsort(place, kind="stable")
    return np.split(order, np.cumsum(np.bincount(place))[:-1])


def _draw_rows(rows: int) -> Draw:
    return lambda generator: generator.integers(0, rows, rows)


def _draw_within(members: list[NDArray[np.intp]]) -> Draw:
    return lambda generator: np.concatenate([own[generator.integers(0, len(own), len(own))] for own in members])


def _draw_groups(members: list[NDArray[np.intp]]) -> Draw:
    return lambda generator: np.concatenate([members[at] for at in generator.integers(0, len(members), len(members))])
