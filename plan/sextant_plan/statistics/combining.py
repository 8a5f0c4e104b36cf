"""Sums of estimates, with bounds from their bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sextant_plan.verdicts import Estimate

Terms = Sequence[tuple[float, Estimate]]


def combined(terms: Terms, *, constant: float = 0.0, alone: Sequence[Estimate] = ()) -> Estimate:
    """Return `constant` plus the weighted sum of estimates with one-sided bounds (MOVER: Zou, Huang, Zhang 2009).

    The estimates must be independent, or such that their errors in the sum tend to cancel; their confidence
    is the result's. `n` is that of the smallest. `alone` has the same estimates as if rows in groups were independent:
    what groups add to an estimate's error may point the same way in all of them, and is added up.
    """
    value = constant + sum(weight * each.value for weight, each in terms)
    below, above = _distances(terms)
    down, up = math.hypot(*below), math.hypot(*above)
    if alone:
        by_row = _distances([(weight, each) for (weight, _), each in zip(terms, alone, strict=True)])
        down, up = (_of_groups(whole, row) for whole, row in zip((below, above), by_row, strict=True))
    first = terms[0][1]
    n = min(each.n for _, each in terms)
    return Estimate(value, value - down, value + up, n, first.confidence)


def _distances(terms: Terms) -> tuple[list[float], list[float]]:
    """Return how far each weighted estimate's bounds lie below and above it."""
    below = [weight * (each.value - (each.low if weight > 0 else each.high)) for weight, each in terms]
    above = [weight * ((each.high if weight > 0 else each.low) - each.value) for weight, each in terms]
    return below, above


def _of_groups(whole: Sequence[float], row: Sequence[float]) -> float:
    added = sum(math.sqrt(max(each**2 - own**2, 0.0)) for each, own in zip(whole, row, strict=True))
    return math.hypot(*row, added)
