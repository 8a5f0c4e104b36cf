"""The error that no model can avoid, bounded by nearest neighbours (Cover and Hart 1967)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sextant_components.planning.feasibility.heading import CONFIDENCE, Heading, Study
from sextant_components.planning.feasibility.quick_models import neighbours_right, ridge_fitted
from sextant_components.planning.feasibility.representation import Sample
from sextant_plan.bounds import proportion
from sextant_plan.verdicts import Verdict


def assess(study: Study) -> Heading:
    """Bound the Bayes error from the nearest neighbour's on the inputs and on ridge scores, the lower of both.

    A representation cannot lower the Bayes error, so the lowest bound is the closest one (Renggli et al. 2023). It
    informs: on few rows the nearest neighbour errs more than in the limit for which the bound holds.
    """
    classes = len(set(study.sample.labels))
    # Two spaces are looked at, so each bound holds at half the error.
    confidence = 1 - (1 - CONFIDENCE) / 2
    errors = {
        name: proportion(int(np.count_nonzero(~right)), len(right), confidence)
        for name, right in _nearest_right(study.sample).items()
    }
    best = min(errors, key=lambda name: errors[name].value)
    estimate = errors[best]
    ceiling = 1 - least_error(estimate.low, classes)
    limit = study.promised_accuracy
    return Heading(
        task="feasibility: bayes error",
        requirement="the accuracy criterion is not above what the inputs allow at best",
        risk="a model is sought that cannot exist, because equal inputs carry different labels",
        qa_method="error of the nearest neighbour in the inputs, or in scores by a model of the other rows; Cover and "
        "Hart's bounds at its Clopper-Pearson bound; it informs and does not judge",
        value={
            "rows": estimate.n,
            "space": best,
            "nearest_neighbour_error": round(estimate.value, 6),
            "bayes_error": {
                "low": round(least_error(estimate.value, classes), 6),
                "high": round(estimate.value, 6),
            },
            "accuracy_at_most": round(ceiling, 6),
            "limit": limit,
        },
        verdict=Verdict.UNKNOWN if limit is not None and ceiling < limit else Verdict.PASS,
        counts=False,
    )


def _nearest_right(sample: Sample) -> dict[str, NDArray[np.bool_]]:
    """Tell by space for each of its rows whether the nearest other row has its label.

    The scores are of one half of the rows by a model of the other: scores of rows that were left out in turn would
    betray each row's own label through its neighbours' models.
    """
    train, test = np.split(np.random.default_rng(0).permutation(len(sample.rows)), [len(sample.rows) // 2])
    classes, codes = np.unique(sample.labels, return_inverse=True)
    scores = ridge_fitted(sample.matrix[train], codes[train], len(classes), sample.matrix[test])
    return {
        "inputs": neighbours_right(sample.matrix, sample.labels, neighbours=1),
        "ridge scores": neighbours_right(scores, [sample.labels[row] for row in test], neighbours=1),
    }


def least_error(nearest: float, classes: int) -> float:
    """Return the least Bayes error that a nearest-neighbour error in the limit of many rows allows.

    It is (k - 1)/k (1 - sqrt(1 - k/(k - 1) e)) for k classes; an error of chance or worse allows only chance.
    """
    if classes < 2:
        return 0.0
    chance = (classes - 1) / classes
    return chance * (1 - math.sqrt(max(0.0, 1 - nearest / chance)))
