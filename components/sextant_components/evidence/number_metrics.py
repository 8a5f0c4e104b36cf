"""The catalogue's metrics over answers that are numbers, each with its bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sextant_components.evidence.metrics import largest_gap
from sextant_plan.bounds import Groups, bootstrap, root_mean_square, size_mean, taken
from sextant_plan.verdicts import Estimate


@dataclass(frozen=True)
class NumberAnswers:
    """What a model says of labelled rows: numbers and labels, (rows,), in the label's unit; the rows' groups."""

    values: NDArray[np.float64]
    labels: NDArray[np.float64]
    groups: Groups = None

    @property
    def errors(self) -> NDArray[np.float64]:
        """How far each answer lies above its label."""
        return self.values - self.labels

    def take(self, rows: NDArray[np.bool_]) -> NumberAnswers:
        """Return some of the rows."""
        return NumberAnswers(self.values[rows], self.labels[rows], taken(self.groups, rows))


def mae(answers: NumberAnswers, confidence: float) -> Estimate:
    """Return the mean absolute error."""
    return size_mean(np.abs(answers.errors), confidence, answers.groups)


def rmse(answers: NumberAnswers, confidence: float) -> Estimate:
    """Return the root of the mean squared error."""
    return root_mean_square(answers.errors, confidence, answers.groups)


def r_squared(answers: NumberAnswers, confidence: float) -> Estimate:
    """Return the share of the labels' variance that the answers explain, by a bootstrap; at most 1."""

    def statistic(rows: NDArray[np.intp]) -> float:
        labels = answers.labels[rows]
        whole = float(((labels - labels.mean()) ** 2).sum())
        return 1 - float((answers.errors[rows] ** 2).sum()) / whole if whole > 0 else 0.0

    found = bootstrap(statistic, len(answers.labels), confidence, groups=answers.groups)
    return Estimate(found.value, found.low, min(found.high, 1.0), found.n, confidence)


def mae_gap(answers: NumberAnswers, values: Sequence[str], confidence: float) -> Estimate:
    """Return the largest difference of the mean absolute error between two of `values`, one a row; two must differ."""
    return largest_gap(np.abs(answers.errors), values, size_mean, confidence, answers.groups)
