"""Quantiles with bounds that hold whatever the distribution."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from sextant_plan.verdicts import Estimate


def quantile(values: ArrayLike, q: float, confidence: float) -> Estimate:
    """Return a quantile with distribution-free one-sided bounds from order statistics.

    `values` has shape (n,). Where n is too small for a bound to exist it is infinite, so that a gate on it
    cannot pass (Hahn and Meeker 1991, section 5.2).
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    n = len(ordered)
    if n == 0:
        return Estimate(math.nan, -math.inf, math.inf, 0, confidence)
    from scipy.stats import binom

    upper = int(binom.ppf(confidence, n, q)) + 1
    lower = int(binom.ppf(1 - confidence, n, q))
    return Estimate(
        value=float(np.quantile(ordered, q, method="inverted_cdf")),
        low=float(ordered[lower - 1]) if lower >= 1 else -math.inf,
        high=float(ordered[upper - 1]) if upper <= n else math.inf,
        n=n,
        confidence=confidence,
    )
