"""Confidence bounds for the gates: each side holds at the stated confidence on its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sextant_plan.verdicts import Estimate

Statistic = Callable[[NDArray[np.intp]], float]

HALVINGS = 60  # of an interval no longer than 2: exact to a double's last place


def proportion(successes: int, n: int, confidence: float) -> Estimate:
    """Return a share with its exact one-sided bounds (Clopper and Pearson 1934).

    With n = 0 the value is nan and the bounds are 0 and 1.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} rows")
    if n == 0:
        return Estimate(math.nan, 0.0, 1.0, 0, confidence)
    from scipy.special import betaincinv

    low = float(betaincinv(successes, n - successes + 1, 1 - confidence)) if successes else 0.0
    high = float(betaincinv(successes + 1, n - successes, confidence)) if successes < n else 1.0
    return Estimate(successes / n, low, high, n, confidence)


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


def combined(terms: Sequence[tuple[float, Estimate]], *, constant: float = 0.0) -> Estimate:
    """Return `constant` plus the weighted sum of estimates with one-sided bounds (MOVER: Zou, Huang, Zhang 2009).

    The estimates must be independent, or such that their errors in the sum tend to cancel; their confidence
    is the result's. `n` is that of the smallest.
    """
    value = constant + sum(weight * each.value for weight, each in terms)
    below = [weight * (each.value - (each.low if weight > 0 else each.high)) for weight, each in terms]
    above = [weight * ((each.high if weight > 0 else each.low) - each.value) for weight, each in terms]
    first = terms[0][1]
    n = min(each.n for _, each in terms)
    return Estimate(value, value - math.hypot(*below), value + math.hypot(*above), n, first.confidence)


def boundary(inside: float, outside: float, is_outside: Callable[[float], bool]) -> float:
    """Return the last number on the way from `inside` to `outside` that is not outside."""
    for _ in range(HALVINGS):
        middle = (inside + outside) / 2
        if is_outside(middle):
            outside = middle
        else:
            inside = middle
    return inside


def bootstrap(
    statistic: Statistic,
    rows: int,
    confidence: float,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Return a statistic of `rows` rows with one-sided basic bootstrap bounds (Davison and Hinkley 1997, 5.2).

    `statistic` takes row indices, shape (rows,), and returns one number. The bounds depend on the seed alone, so
    evidence repeats. Only for statistics without a closed form: where the rows are all alike the bounds have no width.
    """
    if rows == 0:
        return Estimate(math.nan, -math.inf, math.inf, 0, confidence)
    generator = np.random.default_rng(seed)
    value = statistic(np.arange(rows, dtype=np.intp))
    draws = np.empty(resamples)
    for index in range(resamples):
        draws[index] = statistic(generator.integers(0, rows, rows))
    low, high = (float(2 * value - np.quantile(draws, tail)) for tail in (confidence, 1 - confidence))
    return Estimate(value, low, high, rows, confidence)


def rows_to_prove(at_least: float, confidence: float) -> int:
    """Return the fewest rows, all of them right, whose lower bound reaches a share of `at_least`, in (0, 1).

    A test set smaller than this cannot pass the criterion, however good the model. So many values also first
    bound the quantile of this share from above by order statistics.
    """
    return math.ceil(math.log(1 - confidence) / math.log(at_least))
