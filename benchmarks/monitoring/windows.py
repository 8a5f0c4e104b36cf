"""Windows of rows for the drift simulations: the same ones for every detector, from tables that scikit-learn ships.

A window is drawn with replacement from the table's own rows, so that without a shift reference and window have the same
distribution exactly. A little noise breaks the ties that this makes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

REFERENCE_ROWS = 5000
WINDOW_ROWS = 500
MOST_FEATURES = 10
NOISE = 0.02  # of a feature's standard deviation
TABLES = ("breast-cancer", "diabetes", "wine")

Table = NDArray[np.float64]


@dataclass(frozen=True)
class Shift:
    """What happens to a window: the first `features` move by `mean` and stretch by `scale`, in standard deviations."""

    name: str
    features: int = 0
    mean: float = 0.0
    scale: float = 1.0
    missing: float = 0.0


SHIFTS = (
    Shift("none"),
    Shift("one feature +0.25 sd", features=1, mean=0.25),
    Shift("one feature +0.5 sd", features=1, mean=0.5),
    Shift("one feature +1 sd", features=1, mean=1.0),
    Shift("one feature x2 spread", features=1, scale=2.0),
    Shift("all features +0.5 sd", features=MOST_FEATURES, mean=0.5),
    Shift("one feature, a quarter of values defaulted", features=1, missing=0.25),
)


def load_table(name: str) -> Table:
    """Return (rows, features), at most MOST_FEATURES, each with mean 0 and standard deviation 1."""
    from sklearn import datasets

    loaders = {
        "breast-cancer": datasets.load_breast_cancer,
        "diabetes": datasets.load_diabetes,
        "wine": datasets.load_wine,
    }
    rows = np.asarray(loaders[name]().data, dtype=np.float64)[:, :MOST_FEATURES]
    return (rows - rows.mean(axis=0)) / rows.std(axis=0)


def reference_of(table: Table, seed: int = 0) -> Table:
    """Return the training rows."""
    return _drawn(table, REFERENCE_ROWS, np.random.default_rng((seed, 1)))


def windows_of(table: Table, shift: Shift, count: int, seed: int = 0) -> Iterator[Table]:
    """Yield `count` windows; the same for the same arguments, and the first ones for a smaller count."""
    for place in range(count):
        random = np.random.default_rng((seed, 2, place))
        rows = _drawn(table, WINDOW_ROWS, random)
        part = slice(0, shift.features)
        rows[:, part] = rows[:, part] * shift.scale + shift.mean
        defaulted = random.random((len(rows), shift.features)) < shift.missing
        rows[:, part][defaulted] = 0.0
        yield rows


def _drawn(table: Table, count: int, random: np.random.Generator) -> Table:
    rows = table[random.integers(0, len(table), count)]
    return rows + NOISE * random.standard_normal(rows.shape)
