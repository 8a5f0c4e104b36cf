"""The bound of a mean of numbers that have no known range."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from sextant_plan.statistics.groups import Groups, in_groups, mean_deviation
from sextant_plan.verdicts import Estimate

MOST_EXPONENT = 100.0  # two rows at a high confidence have bounds of e^1000, which say nothing that these do not


def mean(values: ArrayLike, confidence: float, groups: Groups = None) -> Estimate:
    """Return the mean of `values`, shape (rows,), with one-sided bounds by Student's t; fewer than two have none.

    For numbers of any range, such as errors in the label's unit; a share has exact bounds of its own (`proportion`).
    Where `groups` have several rows, the standard error is that of the groups' sums (Liang and Zeger 1986) and `n`
    the number of rows over the design effect, rounded down; one group alone has no bounds.
    """
    from scipy.stats import t

    numbers = np.asarray(values, dtype=np.float64)
    if numbers.size < 2:
        return Estimate(
            float(numbers.mean()) if numbers.size else math.nan, -math.inf, math.inf, numbers.size, confidence
        )
    middle = float(numbers.mean())
    if groups is not None and in_groups(groups):
        error, freedom, rows = mean_deviation(numbers, groups)
        half = float(t.ppf(confidence, freedom)) * error
        return Estimate(middle, middle - half, middle + half, math.floor(rows + 1e-9), confidence)
    half = float(t.ppf(confidence, numbers.size - 1) * numbers.std(ddof=1) / math.sqrt(numbers.size))
    return Estimate(middle, middle - half, middle + half, numbers.size, confidence)


def size_mean(sizes: ArrayLike, confidence: float, groups: Groups = None) -> Estimate:
    """Return the mean of sizes (>= 0, such as squared errors), shape (rows,), with bounds that allow for their skew.

    Student's t on the logarithm of the mean, by the delta method: sizes have a long tail upwards, and the plain
    interval's upper bound misses the mean of squared errors nearly twice as often as it says. Bounds of more than
    e^100 times the mean are 0 and infinity.
    """
    found = mean(sizes, confidence, groups)
    if not math.isfinite(found.high) or found.value <= 0:
        return found
    exponent = (found.high - found.value) / found.value
    if exponent > MOST_EXPONENT:
        return Estimate(found.value, 0.0, math.inf, found.n, confidence)
    ratio = math.exp(exponent)
    return Estimate(found.value, found.value / ratio, found.value * ratio, found.n, confidence)


def root_mean_square(values: ArrayLike, confidence: float, groups: Groups = None) -> Estimate:
    """Return the root of the mean square of `values`, shape (rows,); its bounds are the roots of the mean square's."""
    found = size_mean(np.square(np.asarray(values, dtype=np.float64)), confidence, groups)
    value, low, high = (math.sqrt(max(each, 0.0)) for each in (found.value, found.low, found.high))
    return Estimate(value, low, high, found.n, confidence)
