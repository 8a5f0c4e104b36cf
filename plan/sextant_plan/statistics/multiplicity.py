"""Several tests at once: p-values adjusted so that one level holds for all of them."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Return adjusted p-values, shape (tests,), that keep the chance of any false rejection (Holm 1979).

    Valid whatever the tests' dependence.
    """
    ordered, order = _ordered(p_values)
    count = len(ordered)
    adjusted = np.maximum.accumulate(ordered * np.arange(count, 0, -1))
    return _restored(adjusted, order)


def benjamini_hochberg(p_values: ArrayLike) -> NDArray[np.float64]:
    """Return adjusted p-values, shape (tests,), that keep the share of false among all rejections.

    Valid for tests that are independent or positively dependent (Benjamini and Yekutieli 2001).
    """
    ordered, order = _ordered(p_values)
    count = len(ordered)
    scaled = ordered * count / np.arange(1, count + 1)
    adjusted = np.minimum.accumulate(scaled[::-1])[::-1]
    return _restored(adjusted, order)


def shared_out(confidence: float, claims: int) -> float:
    """Return the standard errors of a one-sided normal bound, the confidence shared over `claims` (Bonferroni)."""
    return NormalDist().inv_cdf(1 - (1 - confidence) / claims)


def _ordered(p_values: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    values = np.asarray(p_values, dtype=np.float64)
    if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
        raise ValueError("p-values form one row of numbers between 0 and 1")
    order = np.argsort(values, kind="stable")
    return values[order], order


def _restored(adjusted: NDArray[np.float64], order: NDArray[np.intp]) -> NDArray[np.float64]:
    found = np.empty_like(adjusted)
    found[order] = np.minimum(adjusted, 1.0)
    return found
