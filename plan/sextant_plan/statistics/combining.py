"""Sums of estimates, with bounds from their bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sextant_plan.verdicts import Estimate


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
