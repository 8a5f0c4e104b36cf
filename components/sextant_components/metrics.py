"""The catalogue's metrics over predictions, each with its bounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from math import nan, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sextant_plan.bounds import bootstrap, combined, paired_difference, proportion
from sextant_plan.schema import Economics
from sextant_plan.verdicts import Estimate

CALIBRATION_BINS = 10


@dataclass(frozen=True)
class Answers:
    """What a model says of labelled rows: probabilities (rows, classes) and label indices (rows,)."""

    probabilities: NDArray[np.float32]
    labels: NDArray[np.int64]

    @property
    def predicted(self) -> NDArray[np.intp]:
        """The most probable class of each row."""
        predicted: NDArray[np.intp] = np.argmax(self.probabilities, axis=1)
        return predicted

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether the most probable class is the label."""
        return np.asarray(self.predicted == self.labels)

    @property
    def confidence(self) -> NDArray[np.float64]:
        """The probability of the most probable class."""
        confidence: NDArray[np.float64] = np.max(self.probabilities, axis=1).astype(np.float64)
        return confidence

    def take(self, rows: NDArray[np.bool_]) -> Answers:
        """Return some of the rows."""
        return Answers(self.probabilities[rows], self.labels[rows])


def accuracy(right: NDArray[np.bool_], confidence: float) -> Estimate:
    """Return the share of right answers."""
    return proportion(int(right.sum()), len(right), confidence)


def paired_gain(right: NDArray[np.bool_], other: NDArray[np.bool_], confidence: float) -> Estimate:
    """Return how much more often `right` is right than `other` on the same rows."""
    return paired_difference(int((right & ~other).sum()), int((other & ~right).sum()), len(right), confidence)


def lowest(shares: Sequence[tuple[int, int]], confidence: float) -> Estimate:
    """Return the lowest of several shares, each given as (successes, rows).

    All shares lie above the lower bound together if each does at the full level, so passing needs no correction
    (intersection-union, Berger 1982). That any one lies below the upper bound is a choice among k, so failing
    takes Holm's first step: each upper bound holds at 1 - (1 - confidence) / k. `n` is that of the smallest share.
    """
    corrected = 1 - (1 - confidence) / len(shares)
    estimates = [proportion(successes, n, confidence) for successes, n in shares]
    return Estimate(
        value=min((estimate.value for estimate in estimates if estimate.n), default=nan),
        low=min(estimate.low for estimate in estimates),
        high=min(proportion(successes, n, corrected).high for successes, n in shares),
        n=min(n for _, n in shares),
        confidence=confidence,
    )


def recall_min(answers: Answers, classes: int, confidence: float) -> Estimate:
    """Return the lowest recall of any class; a class without rows makes it unbounded."""
    found = [answers.right[answers.labels == label] for label in range(classes)]
    return lowest([(int(right.sum()), len(right)) for right in found], confidence)


def macro_f1(answers: Answers, classes: int, confidence: float) -> Estimate:
    """Return the mean F1 over the classes that occur as label or prediction.

    A class's F1 rises with the share of hits among the rows that have the class as label or prediction, so the
    bounds of that share are its own. Each error is a miss of two classes, which can double the variance of their
    mean: the combined bounds are wider by its root. (A bootstrap's lower bound is too high in up to four of ten
    samples where errors are few.)
    """
    matrix = confusion(answers, classes)
    hits, either = np.diag(matrix), matrix.sum(axis=0) + matrix.sum(axis=1) - np.diag(matrix)
    scores = [_f1(proportion(int(h), int(n), confidence)) for h, n in zip(hits, either, strict=True) if n]
    if not scores:
        return Estimate(nan, 0.0, 1.0, 0, confidence)
    mean = combined([(1 / len(scores), score) for score in scores])
    low, high = (mean.value + sqrt(2) * (bound - mean.value) for bound in (mean.low, mean.high))
    return Estimate(mean.value, max(low, 0.0), min(high, 1.0), len(answers.labels), confidence)


def _f1(hits: Estimate) -> Estimate:
    value, low, high = (2 * share / (1 + share) for share in (hits.value, hits.low, hits.high))
    return Estimate(value, low, high, hits.n, hits.confidence)


def calibration_error(answers: Answers, confidence: float) -> Estimate:
    """Return the expected calibration error over ten bins of equal count, by a bootstrap.

    The bootstrap takes off the error that chance adds to every bin, more than there is where the bins happen to agree:
    the upper bound is never below what was measured.
    """
    chosen, right = answers.confidence, answers.right.astype(np.float64)

    def statistic(rows: NDArray[np.intp]) -> float:
        order = rows[np.argsort(chosen[rows], kind="stable")]
        bins = np.array_split(order, min(CALIBRATION_BINS, len(order)))
        return float(sum(abs(chosen[part].mean() - right[part].mean()) * len(part) for part in bins) / len(order))

    found = bootstrap(statistic, len(chosen), confidence)
    return replace(found, low=max(found.low, 0.0), high=max(found.high, found.value))


def reliability_bins(
    answers: Answers,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return mean confidence, accuracy and row count of the bins of `calibration_error`."""
    bins = np.array_split(np.argsort(answers.confidence, kind="stable"), min(CALIBRATION_BINS, len(answers.labels)))
    means = np.asarray([answers.confidence[part].mean() for part in bins])
    shares = np.asarray([answers.right[part].mean() for part in bins])
    return means, shares, np.asarray([len(part) for part in bins], dtype=np.int64)


def coverage(answers: Answers, abstain_below: float, confidence: float) -> Estimate:
    """Return the share of rows that the model answers itself."""
    return proportion(int((answers.confidence >= abstain_below).sum()), len(answers.labels), confidence)


def net_value(answers: Answers, economics: Economics, abstain_below: float, confidence: float) -> Estimate:
    """Return value minus cost for a day, in the plan's currency; a row that abstains costs a person's label.

    The bounds combine those of the shares of wrong and of abstained rows, which exclude each other.
    """
    answered, rows = answers.confidence >= abstain_below, len(answers.labels)
    wrong = proportion(int((answered & ~answers.right).sum()), rows, confidence)
    abstained = proportion(int((~answered).sum()), rows, confidence)
    best = economics.value_per_correct * economics.predictions_per_day
    lost = (economics.value_per_correct + economics.cost_per_error) * economics.predictions_per_day
    spent = (economics.value_per_correct + economics.cost_per_label) * economics.predictions_per_day
    day = 24 * economics.cost_per_serving_hour
    return combined([(-lost, wrong), (-spent, abstained)], constant=best - day)


def accuracy_gap(answers: Answers, values: Sequence[str], confidence: float) -> Estimate:
    """Return the largest difference of accuracy between two of `values`, one a row, of which two differ."""
    return largest_gap(answers.right, values, accuracy, confidence)


def largest_gap(
    rows: NDArray[Any], values: Sequence[str], level: Callable[[NDArray[Any], float], Estimate], confidence: float
) -> Estimate:
    """Return the largest difference of `level` between the rows of two of `values`, one a row, of which two differ.

    As in `lowest`, passing needs no correction: the gap is within its bound if each difference is within its own.
    That any difference is real is a choice among all ordered pairs, so failing takes Holm's first step.
    """
    column = np.asarray(values)
    parts = [rows[column == name] for name in np.unique(column)]

    def differences(confidence: float) -> list[Estimate]:
        levels = [level(part, confidence) for part in parts]
        return [combined([(1.0, one), (-1.0, other)]) for one, other in permutations(levels, 2)]

    found = differences(confidence)
    corrected = differences(1 - (1 - confidence) / len(found))
    return Estimate(
        value=max(each.value for each in found),
        low=max(0.0, *(each.low for each in corrected)),
        high=max(each.high for each in found),
        n=len(column),
        confidence=confidence,
    )


def confusion(answers: Answers, classes: int) -> NDArray[np.int64]:
    """Return the matrix, shape (classes, classes): rows are labels, columns predictions."""
    cell = answers.labels * classes + answers.predicted
    return np.bincount(cell, minlength=classes * classes).reshape(classes, classes).astype(np.int64)
