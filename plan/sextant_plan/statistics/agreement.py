"""How far raters agree beyond chance: Cohen's kappa and Krippendorff's alpha, with bounds that keep their width.

Both are 1 - D / E, the disagreement seen over that of chance. D is a mean over rows of numbers from 0 to 1, so its
exact binomial bounds are on the safe side (a coin has the largest variance of all such numbers); E has the normal
bounds of a Gini index. The ratio takes its bounds from theirs (MOVER-R: Donner and Zou 2012). A bootstrap over rows has
no width where raters always agree, and would call ten rows proof of perfect agreement.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sextant_plan.verdicts import Estimate

Interval = tuple[float, float]


def cohen_kappa(table: ArrayLike, confidence: float) -> Estimate:
    """Return two raters' kappa (Cohen 1960) from their table of counts, shape (labels, labels).

    Where both raters gave one and the same label throughout, chance explains everything: the value is nan.
    """
    counts = np.asarray(table, dtype=np.float64)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise ValueError(f"a table of shape {counts.shape} is not one of two raters")
    n = counts.sum()
    if n == 0:
        return Estimate(math.nan, -1.0, 1.0, 0, confidence)
    rows, columns = counts.sum(axis=1) / n, counts.sum(axis=0) / n
    expected = 1 - float(rows @ columns)
    # The expected agreement of a row is the mean of the other rater's shares of its two labels.
    each = (columns[:, None] + rows[None, :]) * counts / n
    spread = ((columns[:, None] + rows[None, :]) ** 2 * counts / n).sum() - each.sum() ** 2
    error = math.sqrt(max(float(spread), 0.0) / n)
    return _chance_corrected(float(n - np.trace(counts)), int(n), expected, error, confidence)


def nominal_alpha(ratings: Sequence[Sequence[str | None]], confidence: float) -> Estimate:
    """Return any number of raters' alpha for nominal labels (Krippendorff 2011); 1 is perfect, 0 is chance.

    `ratings` has shape (rows, raters), None where a rater gave no label; rows with fewer than two labels say nothing
    of agreement and are left out of n. Without any pair of labels, or where all labels are one, the value is nan.
    """
    counts = _label_counts(ratings)
    rated = counts.sum(axis=1)
    counts, rated = counts[rated >= 2], rated[rated >= 2]
    n, total = len(rated), float(rated.sum())
    if n == 0:
        return Estimate(math.nan, -1.0, 1.0, 0, confidence)
    # Within a row of m labels, each disagreeing ordered pair weighs 1 / (m - 1); a row counts by its labels.
    disagreement = float(((rated**2 - (counts**2).sum(axis=1)) / (rated - 1)).sum()) / total
    shares = counts.sum(axis=0) / total
    expected = float(1 - (shares**2).sum()) * total / (total - 1)
    spread = float((shares**3).sum() - (shares**2).sum() ** 2)
    error = 2 * math.sqrt(max(spread, 0.0) / n)  # the labels of one row are not independent, so n counts rows
    return _chance_corrected(disagreement * n, n, expected, error, confidence)


def _chance_corrected(disagreements: float, n: int, expected: float, error: float, confidence: float) -> Estimate:
    """Return 1 - D / E for D = `disagreements` / n and E = `expected` with its standard error."""
    if expected <= 0:
        return Estimate(math.nan, -1.0, 1.0, n, confidence)
    from scipy.special import betaincinv, ndtri

    seen = disagreements / n
    least = float(betaincinv(disagreements, n - disagreements + 1, 1 - confidence)) if disagreements > 0 else 0.0
    most = float(betaincinv(disagreements + 1, n - disagreements, confidence)) if disagreements < n else 1.0
    half = float(ndtri(confidence)) * error
    low, high = _ratio_bounds(seen, (least, most), expected, (expected - half, min(1.0, expected + half)))
    value = 1 - seen / expected
    low, high = min(value, max(-1.0, 1 - high)), max(value, min(1.0, 1 - low))  # rounding may leave the value outside
    return Estimate(value, low, high, n, confidence)


def _ratio_bounds(top: float, top_bounds: Interval, bottom: float, bottom_bounds: Interval) -> Interval:
    """Return the bounds of top / bottom, both at least 0; the upper one is infinite where the bottom may be 0."""
    product = top * bottom
    least, most = bottom_bounds[1] * (2 * bottom - bottom_bounds[1]), bottom_bounds[0] * (2 * bottom - bottom_bounds[0])
    low = high = math.nan
    inner = product**2 - top_bounds[0] * (2 * top - top_bounds[0]) * least
    low = (product - math.sqrt(max(inner, 0.0))) / least if least > 0 else 0.0
    outer = product**2 - top_bounds[1] * (2 * top - top_bounds[1]) * most
    high = (product + math.sqrt(max(outer, 0.0))) / most if bottom_bounds[0] > 0 else math.inf
    return max(0.0, low), high


def _label_counts(ratings: Sequence[Sequence[str | None]]) -> NDArray[np.float64]:
    """Return how many raters gave each label, shape (rows, labels)."""
    labels = sorted({label for row in ratings for label in row if label is not None})
    place = {label: index for index, label in enumerate(labels)}
    counts = np.zeros((len(ratings), len(labels)))
    for index, row in enumerate(ratings):
        for label in row:
            if label is not None:
                counts[index, place[label]] += 1
    return counts
