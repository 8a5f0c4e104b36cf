"""Shares and their differences: exact and score bounds."""

from __future__ import annotations

import math

from sextant_plan.statistics.search import boundary
from sextant_plan.verdicts import Estimate


def proportion(successes: int, n: int, confidence: float) -> Estimate:
    """Return a share with its exact one-sided bounds (Clopper and Pearson 1934).

    With n = 0 the value is nan and the bounds are 0 and 1.
    """
    _require_counts(successes, n)
    if n == 0:
        return Estimate(math.nan, 0.0, 1.0, 0, confidence)
    from scipy.special import betaincinv

    low = float(betaincinv(successes, n - successes + 1, 1 - confidence)) if successes else 0.0
    high = float(betaincinv(successes + 1, n - successes, confidence)) if successes < n else 1.0
    return Estimate(successes / n, low, high, n, confidence)


def paired_difference(gained: int, lost: int, n: int, confidence: float) -> Estimate:
    """Return the difference of two shares on the same rows with one-sided score bounds (Tango 1998).

    `gained` rows have what is counted only the first time, `lost` only the second, of `n` in all. A resampling
    bound has no width where few rows differ, and then claims a difference in up to half of all samples.
    """
    if n == 0:
        return Estimate(math.nan, -1.0, 1.0, 0, confidence)
    from scipy.special import ndtri

    z, value = float(ndtri(confidence)), (gained - lost) / n
    low = boundary(value, -1.0, lambda delta: _paired_score(gained, lost, n, delta) > z)
    high = boundary(value, 1.0, lambda delta: _paired_score(gained, lost, n, delta) < -z)
    return Estimate(value, low, high, n, confidence)


def _paired_score(gained: int, lost: int, n: int, delta: float) -> float:
    """Return the standardised distance of the observed difference from `delta`."""
    off = gained - lost - n * delta
    linear = (2 * n - gained + lost) * delta - gained - lost
    root = math.sqrt(max(linear**2 + 8 * n * lost * delta * (1 - delta), 0.0))
    variance = n * ((root - linear) / (2 * n) + delta * (1 - delta))
    return off / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, off) if off else 0.0


def _require_counts(successes: int, n: int) -> None:
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} rows")
