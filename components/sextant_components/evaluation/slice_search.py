"""Slices that nobody declared: values, ranges and pairs of them on which the model is wrong more often than elsewhere.

Many slices are tried, so chance alone would show some; the p-values are Holm's, which keep the chance of any false
finding whatever the slices share (Holm 1979). A slice inside one that was found already is not told again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from sextant_plan.bounds import proportion
from sextant_plan.statistics.multiplicity import holm

FEWEST_ROWS = 20  # below, not even an accuracy of half would be told from nine tenths
MOST_VALUES = 30  # of a text column; one with more is a name or a key
RANGES = 4
LEVEL = 0.05
CONFIDENCE = 0.95
MOST_FOUND = 12

Rows = NDArray[np.bool_]


@dataclass(frozen=True)
class FoundSlice:
    """A slice with its accuracy and bounds, that of all other rows, and its p-value after Holm."""

    slice: str
    n: int
    value: float
    low: float
    high: float
    elsewhere: float
    p_value: float


@dataclass(frozen=True)
class SliceSearch:
    """How many slices were tried, and those on which the model is proved worse, the worst first."""

    tried: int
    found: list[FoundSlice]


def search_slices(right: Rows, columns: Mapping[str, Sequence[object]]) -> SliceSearch:
    """Try every value or quarter of each column and every pair of two columns' with at least 20 rows in and out.

    `right` and each column have one entry a row. The test is Fisher's exact one, one-sided: are wrong answers more
    frequent inside?
    """
    single = {name: list(_parts(name, values)) for name, values in columns.items()}
    tried = [part for parts in single.values() for part in parts]
    for one, other in combinations(single.values(), 2):
        tried += [(f"{a} and {b}", inside & also) for a, inside in one for b, also in other]
    tried = [(name, rows) for name, rows in tried if _large_enough(rows)]
    if not tried:
        return SliceSearch(0, [])
    adjusted = holm([_p_value(right, rows) for _, rows in tried])
    order = np.argsort(adjusted, kind="stable")
    proved = [(tried[place], float(adjusted[place])) for place in order if adjusted[place] < LEVEL]
    return SliceSearch(len(tried), [_found(right, part, p) for part, p in _distinct(proved)][:MOST_FOUND])


def _parts(name: str, values: Sequence[object]) -> Iterator[tuple[str, Rows]]:
    """Yield a column's values, or its quarters if it holds more numbers than that."""
    known = [value for value in values if value is not None]
    if known and all(isinstance(value, int | float) and not isinstance(value, bool) for value in known):
        column = np.asarray([np.nan if value is None else value for value in values], dtype=np.float64)
        if len(np.unique(column[~np.isnan(column)])) > RANGES:
            yield from _ranges(name, column)
            return
    texts = np.asarray(["" if value is None else str(value) for value in values])
    names = np.unique(texts)
    if 2 <= len(names) <= MOST_VALUES:
        yield from ((f"{name}={value}", texts == value) for value in names)


def _ranges(name: str, column: NDArray[np.float64]) -> Iterator[tuple[str, Rows]]:
    edges = np.unique(np.nanquantile(column, np.linspace(0, 1, RANGES + 1)))
    for place, (low, high) in enumerate(pairwise(edges)):
        last = place == len(edges) - 2
        yield f"{name} from {low:.4g} to {high:.4g}", (column >= low) & ((column <= high) if last else (column < high))
    if (missing := np.isnan(column)).any():
        yield f"{name} missing", missing


def _large_enough(rows: Rows) -> bool:
    return FEWEST_ROWS <= int(rows.sum()) <= len(rows) - FEWEST_ROWS


def _p_value(right: Rows, rows: Rows) -> float:
    """Return the chance of at least this many wrong rows inside, were wrong rows spread by chance."""
    from scipy.stats import hypergeom

    wrong = ~right
    return float(hypergeom.sf(int((wrong & rows).sum()) - 1, len(right), int(wrong.sum()), int(rows.sum())))


def _distinct(proved: Sequence[tuple[tuple[str, Rows], float]]) -> Iterator[tuple[tuple[str, Rows], float]]:
    """Leave out a slice of whose rows nine in ten lie in one that was told before, or the other way round."""
    told: list[Rows] = []
    for part, p_value in proved:
        rows = part[1]
        shared = (int((rows & before).sum()) / min(int(rows.sum()), int(before.sum())) for before in told)
        if all(share < 0.9 for share in shared):
            told.append(rows)
            yield part, p_value


def _found(right: Rows, part: tuple[str, Rows], p_value: float) -> FoundSlice:
    name, rows = part
    share = proportion(int(right[rows].sum()), int(rows.sum()), CONFIDENCE)
    return FoundSlice(name, share.n, share.value, share.low, share.high, float(right[~rows].mean()), p_value)
