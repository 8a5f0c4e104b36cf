"""How many independent rows the rows of groups are worth.

Rows of one group (a customer's, a picture and its near-duplicate) resemble each other and tell less than as many rows
of as many groups. How much less is the design effect: the variance of the mean by groups over that by rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Groups = NDArray[np.int64] | None
"""The group of each row, shape (rows,); None where every row is its own."""


def in_groups(groups: Groups) -> bool:
    """Tell whether any group has more than one row."""
    return groups is not None and len(np.unique(groups)) < len(groups)


def taken(groups: Groups, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Groups:
    """Return the groups of some of the rows."""
    return None if groups is None else groups[rows]


def alike_rows(groups: NDArray[np.int64]) -> float:
    """Return what rows are worth if those of a group are all alike: rows^2 / sum of squared sizes (Kish 1965, 8.2)."""
    return float(len(groups) ** 2 / (np.unique(groups, return_counts=True)[1].astype(np.float64) ** 2).sum())


def effective_share_rows(values: ArrayLike, groups: NDArray[np.int64], confidence: float) -> float:
    """Return how many independent rows a share, or a difference of two, is worth: from 1 to the number of rows.

    `values` has shape (rows,) and holds 0 or 1, or -1, 0 and 1 for a difference. As Korn and Graubard (1998) do, the
    rows are divided by the design effect, and the degrees of freedom of its estimate are paid for by Student's t.
    Where few rows err, the observed effect says nothing: to both variances one more group is added, as large as the
    one that a row finds itself in on average, whose rows are wholly alike. If no row errs, what is left is
    `alike_rows`. Why: docs/adr/0052.
    """
    from scipy.special import stdtrit

    numbers = np.asarray(values, dtype=np.float64)
    rows, sizes = len(numbers), np.unique(groups, return_counts=True)[1].astype(np.float64)
    alike = alike_rows(groups)
    if len(sizes) < 2:
        return min(1.0, float(rows))
    by_group, by_row = _squares(numbers, groups)
    size = rows / alike
    plain = rows / max(1.0, (by_group + size**2) / (by_row + size))
    paid = stdtrit(rows - 1, confidence) / stdtrit(_freedom(sizes), confidence)
    return max(1.0, plain * float(paid) ** 2, min(plain, alike))


def mean_deviation(values: NDArray[np.float64], groups: NDArray[np.int64]) -> tuple[float, float, float]:
    """Return the standard error of a mean by groups, its degrees of freedom, and how many independent rows it has.

    The error is never below that of as many independent rows. One group alone has no error: infinite.
    """
    rows, sizes = len(values), np.unique(groups, return_counts=True)[1].astype(np.float64)
    if len(sizes) < 2:
        return float("inf"), 1.0, min(1.0, float(rows))
    by_group, by_row = _squares(values, groups)
    effective = rows * by_row / max(by_group, by_row) if by_row > 0 else alike_rows(groups)
    return float(np.sqrt(max(by_group, by_row)) / rows), _freedom(sizes), max(1.0, effective)


def _squares(values: NDArray[np.float64], groups: NDArray[np.int64]) -> tuple[float, float]:
    """Return the variance of the sum of `values`, once from its groups and once as if rows were independent."""
    _, place = np.unique(groups, return_inverse=True)
    away, count, rows = values - values.mean(), int(place.max()) + 1, len(values)
    by_group = count / (count - 1) * float((np.bincount(place, away) ** 2).sum())
    return by_group, rows / (rows - 1) * float((away**2).sum())


def _freedom(sizes: NDArray[np.float64]) -> float:
    """Return the degrees of freedom of a variance by groups: their number less one, fewer where sizes differ.

    By Satterthwaite (1946), each group weighing by its size squared; a hundred rows beside five large groups do not
    make the five a hundred.
    """
    return max(1.0, float((sizes**2).sum() ** 2 / (sizes**4).sum()) - 1)
