"""Which columns and training rows earn their place: each is left out, and what that costs is measured.

The learner is a handful of trees: fitted in a fraction of a second, blind to scale, and not the model that will be
served, so that a gain found here is a property of the data and not of one architecture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sextant_components.evidence.metrics import paired_gain
from sextant_plan.verdicts import Estimate

CONFIDENCE = 0.95  # that none of the columns, or of the kinds of rows, is wrongly said to help or to harm
FOLDS = 5
ROUNDS = 30
MAX_ROWS = 5000  # of the training rows; more make the interval narrower than any decision needs
Matrix = NDArray[np.float32]
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Gain:
    """What leaving something out changes: the share of right answers with it less that without, and its verdict.

    `earned` is True if it is proved to help, False if it is proved to harm, None where the rows prove neither.
    """

    estimate: Estimate
    rows: int

    @property
    def earned(self) -> bool | None:
        """Whether having it helps."""
        return True if self.estimate.low > 0 else False if self.estimate.high < 0 else None

    def as_json(self) -> dict[str, Any]:
        """Return the figures for a record."""
        found = self.estimate
        return {"gain": found.value, "low": found.low, "high": found.high, "rows": self.rows, "earned": self.earned}


def column_gains(matrix: Matrix, codes: Codes, names: Sequence[str], categories: Sequence[int]) -> dict[str, Gain]:
    """Return for each column what it adds beside all others, on rows that the trees were not fitted to.

    `matrix` has shape (rows, columns), `categories` the places of columns that hold codes. Two columns that say the
    same each add nothing, though together they may add much: leave out one, and measure again.
    """
    with_all, confidence = _right_out_of_fold(matrix, codes, list(categories)), of_each(len(names))
    gains = {}
    for place, name in enumerate(names):
        others = [other for other in range(len(names)) if other != place]
        kept = [others.index(other) for other in categories if other != place]
        without = _right_out_of_fold(matrix[:, others], codes, kept) if others else _right_by_majority(codes)
        gains[name] = Gain(paired_gain(with_all, without, confidence), len(codes))
    return gains


def row_gains(
    matrix: Matrix, codes: Codes, suspects: Mapping[str, NDArray[np.bool_]], *, test: tuple[Matrix, Codes]
) -> dict[str, Gain]:
    """Return for each kind of suspect what its rows add to training, on the rows of `test`.

    Each mask has shape (rows,). A kind that is a whole class, or all rows, is not measured.
    """
    with_all, confidence = right_on(matrix, codes, test=test), of_each(len(suspects))
    gains = {}
    for kind, mask in suspects.items():
        if not mask.any() or len(np.unique(codes[~mask])) < len(np.unique(codes)):
            continue
        without = right_on(matrix[~mask], codes[~mask], test=test)
        gains[kind] = Gain(paired_gain(with_all, without, confidence), int(mask.sum()))
    return gains


def of_each(claims: int) -> float:
    """Return the confidence of each bound: each of so many things may help and may harm (Bonferroni)."""
    return 1 - (1 - CONFIDENCE) / (2 * max(1, claims))


def right_on(matrix: Matrix, codes: Codes, *, test: tuple[Matrix, Codes]) -> NDArray[np.bool_]:
    """Tell for each test row whether trees fitted to `matrix` give its label."""
    return np.asarray(_answers(matrix, codes, test[0], []) == test[1])


def sampled(rows: int) -> NDArray[np.intp]:
    """Return the places of at most MAX_ROWS rows, the same ones every time, rising."""
    if rows <= MAX_ROWS:
        return np.arange(rows)
    return np.sort(np.random.default_rng(0).choice(rows, MAX_ROWS, replace=False))


def _right_out_of_fold(matrix: Matrix, codes: Codes, categories: list[int]) -> NDArray[np.bool_]:
    folds = np.random.default_rng(0).permutation(len(codes)) % FOLDS
    right = np.zeros(len(codes), dtype=np.bool_)
    for fold in range(FOLDS):
        held = folds == fold
        right[held] = _answers(matrix[~held], codes[~held], matrix[held], categories) == codes[held]
    return right


def _right_by_majority(codes: Codes) -> NDArray[np.bool_]:
    return np.asarray(codes == np.bincount(codes).argmax())


def _answers(matrix: Matrix, codes: Codes, test: Matrix, categories: list[int]) -> Codes:
    """Return the class of each test row by trees fitted to `matrix`; one thread, so that every machine agrees."""
    import lightgbm

    classes, places = np.unique(codes, return_inverse=True)
    if len(classes) == 1:
        return np.full(len(test), classes[0])
    settings = {
        "objective": "multiclass",
        "num_class": len(classes),
        "num_leaves": 15,
        "min_data_in_leaf": min(10, max(1, len(codes) // 20)),
        "learning_rate": 0.2,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
        "seed": 0,
    }
    data = lightgbm.Dataset(matrix, places, categorical_feature=categories, params=settings)
    scores = np.asarray(lightgbm.train(settings, data, ROUNDS).predict(test))
    chosen: Codes = classes[scores.argmax(axis=1)]
    return chosen
