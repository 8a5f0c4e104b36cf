"""The catalogue's metrics over predictions, each with its bounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from math import nan, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sextant_plan.bounds import Groups, bootstrap, combined, share, share_difference, taken
from sextant_plan.schema import Economics
from sextant_plan.verdicts import Estimate

CALIBRATION_BINS = 10
Level = Callable[[NDArray[Any], float, Groups], Estimate]
"""A level of rows with its bounds, such as `accuracy`, from the rows, the confidence and the rows' groups."""


@dataclass(frozen=True)
class Answers:
    """What a model says of labelled rows: probabilities (rows, classes), label indices (rows,), the rows' groups."""

    probabilities: NDArray[np.float32]
    labels: NDArray[np.int64]
    groups: Groups = None

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
        return Answers(self.probabilities[rows], self.labels[rows], taken(self.groups, rows))


def accuracy(right: NDArray[np.bool_], confidence: float, groups: Groups = None) -> Estimate:
    """Return the share of right answers."""
    return share(right, confidence, groups)


def paired_gain(
    right: NDArray[np.bool_], other: NDArray[np.bool_], confidence: float, groups: Groups = None
) -> Estimate:
    """Return how much more often `right` is right than `other` on the same rows."""
    return share_difference(right, other, confidence, groups)


def lowest(parts: Sequence[tuple[NDArray[np.bool_], Groups]], confidence: float) -> Estimate:
    """Return the lowest of several shares, each given as its rows, BOOL (rows,), and their groups.

    All shares lie above the lower bound together if each does at the full level, so passing needs no correction
    (intersection-union, Berger 1982). That any one lies below the upper bound is a choice among k, so failing
    takes Holm's first step: each upper bound holds at 1 - (1 - confidence) / k. `n` is that of the smallest share.
    """
    corrected = 1 - (1 - confidence) / len(parts)
    estimates = [share(rows, confidence, groups) for rows, groups in parts]
    return Estimate(
        value=min((estimate.value for estimate in estimates if estimate.n), default=nan),
        low=min(estimate.low for estimate in estimates),
        high=min(share(rows, corrected, groups).high for rows, groups in parts),
        n=min(estimate.n for estimate in estimates),
        confidence=confidence,
    )


def recall_min(answers: Answers, classes: int, confidence: float) -> Estimate:
    """Return the lowest recall of any class; a class without rows makes it unbounded."""
    parts = [answers.take(answers.labels == label) for label in range(classes)]
    return lowest([(part.right, part.groups) for part in parts], confidence)


def macro_f1(answers: Answers, classes: int, confidence: float) -> Estimate:
    """Return the mean F1 over the classes that occur as label or prediction.

    A class's F1 rises with the share of hits among the rows that have the class as label or prediction, so the
    bounds of that share are its own. Each error is a miss of two classes, which can double the variance of their
    mean: the combined bounds are wider by its root. (A bootstrap's lower bound is too high in up to four of ten
    samples where errors are few.)
    """
    either = [(answers.labels == label) | (answers.predicted == label) for label in range(classes)]
    parts = [answers.take(rows) for rows in either if rows.any()]
    scores = [_f1(accuracy(part.right, confidence, part.groups)) for part in parts]
    if not scores:
        return Estimate(nan, 0.0, 1.0, 0, confidence)
    alone = [_f1(accuracy(part.right, confidence)) for part in parts] if answers.groups is not None else ()
    mean = combined([(1 / len(scores), score) for score in scores], alone=alone)
    low, high = (mean.value + sqrt(2) * (bound - mean.value) for bound in (mean.low, mean.high))
    n = accuracy(answers.right, confidence, answers.groups).n
    return Estimate(mean.value, max(low, 0.0), min(high, 1.0), n, confidence)


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

    found = bootstrap(statistic, len(chosen), confidence, groups=answers.groups)
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
    return share(answers.confidence >= abstain_below, confidence, answers.groups)


def net_value(answers: Answers, economics: Economics, abstain_below: float, confidence: float) -> Estimate:
    """Return value minus cost for a day, in the plan's currency; a row that abstains costs a person's label.

    The bounds combine those of the shares of wrong and of abstained rows, which exclude each other; a hard group may
    have both.
    """
    answered = answers.confidence >= abstain_below
    lots = (answered & ~answers.right, ~answered)
    wrong, abstained = (share(rows, confidence, answers.groups) for rows in lots)
    alone = [share(rows, confidence) for rows in lots] if answers.groups is not None else ()
    best = economics.value_per_correct * economics.predictions_per_day
    lost = (economics.value_per_correct + economics.cost_per_error) * economics.predictions_per_day
    spent = (economics.value_per_correct + economics.cost_per_label) * economics.predictions_per_day
    day = 24 * economics.cost_per_serving_hour
    return combined([(-lost, wrong), (-spent, abstained)], constant=best - day, alone=alone)


def accuracy_gap(answers: Answers, values: Sequence[str], confidence: float) -> Estimate:
    """Return the largest difference of accuracy between two of `values`, one a row, of which two differ."""
    return largest_gap(answers.right, values, accuracy, confidence, answers.groups)


def largest_gap(
    rows: NDArray[Any], values: Sequence[str], level: Level, confidence: float, groups: Groups = None
) -> Estimate:
    """Return the largest difference of `level` between the rows of two of `values`, one a row, of which two differ.

    As in `lowest`, passing needs no correction: the gap is within its bound if each difference is within its own.
    That any difference is real is a choice among all ordered pairs, so failing takes Holm's first step. A group with
    rows of both values moves both alike, which the bounds of a difference may leave out.
    """
    column = np.asarray(values)
    parts = [column == name for name in np.unique(column)]

    def differences(confidence: float) -> list[Estimate]:
        levels = [level(rows[part], confidence, taken(groups, part)) for part in parts]
        return [combined([(1.0, one), (-1.0, other)]) for one, other in permutations(levels, 2)]

    found = differences(confidence)
    corrected = differences(1 - (1 - confidence) / len(found))
    return Estimate(
        value=max(each.value for each in found),
        low=max(0.0, *(each.low for each in corrected)),
        high=max(each.high for each in found),
        n=level(rows, confidence, groups).n,
        confidence=confidence,
    )


def confusion(answers: Answers, classes: int) -> NDArray[np.int64]:
    """Return the matrix, shape (classes, classes): rows are labels, columns predictions."""
    cell = answers.labels * classes + answers.predicted
    return np.bincount(cell, minlength=classes * classes).reshape(classes, classes).astype(np.int64)
