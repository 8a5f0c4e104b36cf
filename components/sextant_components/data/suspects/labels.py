"""Labels that the rows' neighbours contradict: confident learning (Northcutt et al. 2021), by cleanlab."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sextant_components.data.suspects.suspect import LABEL, Suspect

FOLDS = 5
NEIGHBOURS = 10
MIN_CLASS_ROWS = 2 * FOLDS  # a class with fewer has no neighbours of its own in every fold
MAX_ROWS = 50_000  # comparing every row with every other takes minutes from here on


def unjudgeable(labels: Sequence[str], matrix: NDArray[np.float64]) -> str | None:
    """Return why labels cannot be judged by their rows' neighbours, None where they can."""
    if matrix.shape[1] == 0:
        return "there is nothing to compare rows by"
    if not labels:
        return "the labels are numbers, and confident learning judges classes"
    if len(labels) > MAX_ROWS:
        return f"{len(labels)} rows are more than the {MAX_ROWS} that are compared with each other"
    if min(Counter(labels).values()) < MIN_CLASS_ROWS:
        return f"a class has fewer than {MIN_CLASS_ROWS} rows"
    return None


def rows_to_judge(rows: int) -> list[int]:
    """Return the places of the rows that are compared with each other: all, or MAX_ROWS drawn at random, rising.

    The draw depends on the number of rows alone, and a snapshot's order on its content: the same data, the same rows.
    """
    if rows <= MAX_ROWS:
        return list(range(rows))
    drawn: list[int] = np.sort(np.random.default_rng(0).choice(rows, MAX_ROWS, replace=False)).tolist()
    return drawn


@dataclass(frozen=True)
class Judged:
    """Each row's class probabilities by rows of other folds, shape (rows, classes), the classes in order."""

    probabilities: NDArray[np.float64]
    classes: list[str]

    def likeliest(self, index: int) -> str:
        """Return the class that a row's neighbours suggest."""
        return self.classes[int(self.probabilities[index].argmax())]


def out_of_fold(matrix: NDArray[np.float64], labels: Sequence[str]) -> Judged:
    """Judge each row by its nearest neighbours among the rows of other folds.

    Nearest neighbours weighed by distance: no training, no tuning, and on the digits with 5 % of the labels
    flipped they point out more of them than a logistic regression, in a twentieth of its time.
    """
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.neighbors import KNeighborsClassifier

    classes = sorted(set(labels))
    codes = np.searchsorted(classes, labels)
    model = KNeighborsClassifier(NEIGHBOURS, weights="distance")
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    return Judged(np.asarray(cross_val_predict(model, matrix, codes, cv=folds, method="predict_proba")), classes)


def label_suspects(
    row_ids: Sequence[int], labels: Sequence[str], judged: Judged, *, judges: str = "its neighbours say"
) -> list[Suspect]:
    """Return the rows whose label is likely an error, each with the label that its judges suggest."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    codes = np.searchsorted(judged.classes, labels)
    wrong = find_label_issues(codes, judged.probabilities, filter_by="prune_by_class", n_jobs=1)
    quality = get_label_quality_scores(codes, judged.probabilities)
    return [
        Suspect(
            row_id=row_ids[index],
            check=LABEL,
            detail=f"{judges} {judged.likeliest(index)}, its label {labels[index]}",
            score=round(float(quality[index]), 6),
            suggestion=judged.likeliest(index),
        )
        for index in np.flatnonzero(wrong).tolist()
    ]
