"""How far several raters agree on the labels: Krippendorff's alpha for nominal data (Krippendorff 2011)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sextant_plan.bounds import bootstrap
from sextant_plan.verdicts import Estimate


def nominal_alpha(ratings: Sequence[Sequence[str | None]], confidence: float) -> Estimate:
    """Return the raters' agreement with bootstrap bounds over rows; 1 is perfect, 0 is chance.

    `ratings` has shape (rows, raters), None where a rater gave no label; rows with fewer than two labels
    say nothing of agreement and are left out of n. Without any pair of labels the value is nan.
    """
    counts = _label_counts(ratings)
    rated = counts.sum(axis=1)
    counts, rated = counts[rated >= 2], rated[rated >= 2]
    # Within a row of m labels, each disagreeing ordered pair weighs 1 / (m - 1).
    disagreement = (rated**2 - (counts**2).sum(axis=1)) / np.maximum(rated - 1, 1)

    def alpha(rows: NDArray[np.intp]) -> float:
        totals = counts[rows].sum(axis=0)
        total = totals.sum()
        expected = (total**2 - (totals**2).sum()) / (total - 1)
        return 1.0 if expected == 0 else float(1 - disagreement[rows].sum() / expected)

    return bootstrap(alpha, len(rated), confidence)


def _label_counts(ratings: Sequence[Sequence[str | None]]) -> NDArray[np.float64]:
    labels = sorted({label for row in ratings for label in row if label is not None})
    place = {label: index for index, label in enumerate(labels)}
    counts = np.zeros((len(ratings), len(labels)))
    for index, row in enumerate(ratings):
        for label in row:
            if label is not None:
                counts[index, place[label]] += 1
    return counts
