"""Shares and their differences: exact and score bounds."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sextant_plan.statistics.groups import Groups, effective_share_rows, in_groups
from sextant_plan.statistics.search import boundary
from sextant_plan.verdicts import Estimate


def proportion(successes: int, n: int, confidence: float) -> Estimate:
    """Return a share with its exact one-sided bounds (Clopper and Pearson 1934).

    With n = 0 the value is nan and the bounds are 0 and 1.
    """
    _require_counts(successes, n)
    if n == 0:
        return Estimate(math.nan, 0.0, 1.0, 0, confidence)
    low, high = _exact_bounds(successes, n, confidence)
    return Estimate(successes / n, low, high, n, confidence)


def share(hits: NDArray[np.bool_], confidence: float, groups: Groups = None) -> Estimate:
    """Return the share of `hits`, BOOL (rows,), with the bounds of `proportion` on the rows that its groups are worth.

    Where every row is its own group this is `proportion`; else Korn and Graubard's interval (1998), and `n` is the
    effective number of rows, rounded down.
    """
    if groups is None or not in_groups(groups):
        return proportion(int(hits.sum()), len(hits), confidence)
    value, rows = float(hits.mean()), effective_share_rows(hits, groups, confidence)
    low, high = _exact_bounds(value * rows, rows, confidence)
    return Estimate(value, low, high, _whole(rows), confidence)


def paired_difference(gained: int, lost: int, n: int, confidence: float) -> Estimate:
    """Return the difference of two shares on the same rows with one-sided score bounds (Tango 1998).

    `gained` rows have what is counted only the first time, `lost` only the second, of `n` in all. A resampling
    bound has no width where few rows differ, and then claims a difference in up to half of all samples.
    """
    if n == 0:
        return Estimate(math.nan, -1.0, 1.0, 0, confidence)
    low, high = _score_bounds(gained, lost, n, confidence)
    return Estimate((gained - lost) / n, low, high, n, confidence)


def share_difference(
    one: NDArray[np.bool_], other: NDArray[np.bool_], confidence: float, groups: Groups = None
) -> Estimate:
    """Return how much larger the share of `one` is than that of `other` on the same rows, each BOOL (rows,).

    The bounds are those of `paired_difference` on the rows that the groups are worth to the rows' differences.
    """
    gained, lost, n = int((one & ~other).sum()), int((other & ~one).sum()), len(one)
    if groups is None or not in_groups(groups):
        return paired_difference(gained, lost, n, confidence)
    rows = effective_share_rows(one.astype(np.float64) - other, groups, confidence)
    low, high = _score_bounds(gained * rows / n, lost * rows / n, rows, confidence)
    return Estimate((gained - lost) / n, low, high, _whole(rows), confidence)


def _exact_bounds(successes: float, n: float, confidence: float) -> tuple[float, float]:
    from scipy.special import betaincinv

    low = float(betaincinv(successes, n - successes + 1, 1 - confidence)) if successes else 0.0
    high = float(betaincinv(successes + 1, n - successes, confidence)) if successes < n else 1.0
    return low, high


def _score_bounds(gained: float, lost: float, n: float, confidence: float) -> tuple[float, float]:
    from scipy.special import ndtri

    z, value = float(ndtri(confidence)), (gained - lost) / n
    low = boundary(value, -1.0, lambda delta: _paired_score(gained, lost, n, delta) > z)
    high = boundary(value, 1.0, lambda delta: _paired_score(gained, lost, n, delta) < -z)
    return low, high


def _whole(rows: float) -> int:
    return math.floor(rows + 1e-9)  # what rounding left of a whole number is one


def _paired_score(gained: float, lost: float, n: float, delta: float) -> float:
    """Return the standardised distance of the observed difference from `delta`."""
    off = gained - lost - n * delta
    linear = (2 * n - gained + lost) * delta - gained - lost
    root = math.sqrt(max(linear**2 + 8 * n * lost * delta * (1 - delta), 0.0))
    variance = n * ((root - linear) / (2 * n) + delta * (1 - delta))
    return off / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, off) if off else 0.0


def _require_counts(successes: int, n: int) -> None:
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} rows")
