"""The criteria that `sextant init` suggests where the label is a number."""

from __future__ import annotations

import math
from collections.abc import Iterator

from sextant_pipelines.inspection import NumberGuess

HOPED_ERROR = 0.85  # of the mean's error: what the suggested limit assumes that the model reaches; the user decides


def number_criteria(label: NumberGuess, sealed: int) -> Iterator[str]:
    """Yield the plan's lines on the size of the errors; limits in the label's unit, from its spread."""
    # The bound on a mean of absolute errors lies about 1.65 standard errors above it, and errors of a bell-shaped
    # spread have a standard deviation of three quarters of their mean.
    room = 1 + 1.65 * 0.75 / math.sqrt(max(sealed, 1))
    limit = _three_digits(HOPED_ERROR * room * label.mean_error)
    min_n = max(1, math.floor(0.8 * sealed))
    yield ""
    yield "# A gate passes when the bound at confidence 0.95 holds, not the point value."
    yield f"# Answering the mean of all labels is off by {label.mean_error:.4g} on average; the sealed split will have"
    yield f"# about {sealed} independent rows."
    yield "criteria:"
    yield f"  - {{id: error, metric: mae, at_most: {limit:g}, min_n: {min_n}, enforce: [gate, retrain]}}"
    yield f"  - {{id: explained, metric: r_squared, at_least: 0.05, min_n: {min_n}}}"
    yield "  # Below 0 the model is closer to the label than the baseline, in the label's unit."
    yield f"  - {{id: beats-baseline, metric: mae, at_most: 0, relative_to: baseline, min_n: {min_n}}}"


def _three_digits(number: float) -> float:
    return float(f"{number:.3g}")
