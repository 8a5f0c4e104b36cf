"""Two models that need no training time to speak of: nearest neighbours and ridge regression on one-hot labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sextant_components.planning.feasibility.representation import Matrix

NEIGHBOURS = 5
RIDGE = 10.0


def neighbours_right(matrix: Matrix, labels: Sequence[str], *, neighbours: int = NEIGHBOURS) -> NDArray[np.bool_]:
    """Tell for each row whether its nearest neighbours, itself left out, vote for its label."""
    squares = (matrix**2).sum(axis=1)
    distances = squares[:, None] + squares[None, :] - 2 * matrix @ matrix.T
    np.fill_diagonal(distances, np.inf)
    near = np.argpartition(distances, min(neighbours, len(labels) - 1) - 1, axis=1)[:, :neighbours]
    votes = [Counter(labels[other] for other in others).most_common(1)[0][0] for others in near]
    return np.asarray([vote == label for vote, label in zip(votes, labels, strict=True)])


def ridge_right(matrix: Matrix, labels: Sequence[str]) -> NDArray[np.bool_]:
    """Tell for each row whether ridge regression without it gives it the label."""
    classes, codes = np.unique(labels, return_inverse=True)
    return np.asarray(ridge_left_out(matrix, np.eye(len(classes))[codes]).argmax(axis=1) == codes)


def ridge_left_out(matrix: Matrix, target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what ridge regression without a row says of that row, in the shape of `target`: (rows,) or (rows, many).

    Leaving a row out divides its residual by 1 - leverage (Allen 1974).
    """
    middle = target.mean(axis=0)
    design, centred = _with_constant(matrix), target - middle
    gram = design @ design.T
    hat = np.linalg.solve(gram + RIDGE * np.eye(len(gram)), gram)
    leverage = np.clip(np.diag(hat), 0, 1 - 1e-9).reshape(-1, *[1] * (target.ndim - 1))
    return np.asarray(target - (centred - hat @ centred) / (1 - leverage))


def ridge_fitted(train: Matrix, codes: NDArray[np.intp], classes: int, test: Matrix) -> Matrix:
    """Return each test row's scores, shape (rows, classes), by the training rows."""
    return np.asarray(_with_constant(test) @ ridge_weights(train, np.eye(classes)[codes]), dtype=np.float64)


def ridge_weights(train: Matrix, target: NDArray[np.float64]) -> Matrix:
    """Return the weights of ridge regression, shape (columns + 1, targets), the constant's last.

    `target` has shape (rows, targets); solved in the smaller dimension.
    """
    design = _with_constant(train)
    rows, columns = design.shape
    if columns <= rows:
        weights = np.linalg.solve(design.T @ design + RIDGE * np.eye(columns), design.T @ target)
    else:
        weights = design.T @ np.linalg.solve(design @ design.T + RIDGE * np.eye(rows), target)
    return np.asarray(weights, dtype=np.float64)


def ridge_answers(train: Matrix, codes: NDArray[np.intp], classes: int, test: Matrix) -> NDArray[np.intp]:
    """Return the class of each test row by ridge regression on the training rows."""
    return np.asarray(ridge_fitted(train, codes, classes, test).argmax(axis=1))


def _with_constant(matrix: Matrix) -> Matrix:
    return np.hstack([matrix, np.ones((len(matrix), 1))])
