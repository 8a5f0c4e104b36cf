"""Splits as the tensors a model reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sextant_components.data.tables import feature_matrix, groups_of, load_images
from sextant_plan.bounds import Groups, taken
from sextant_plan.bundle import Column
from sextant_plan.schema import ImageInput

if TYPE_CHECKING:
    import polars as pl

    from sextant_serving.engines import Engine

Inputs = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Examples:
    """Labelled rows: `inputs` as in `BundleSpec.inputs`, `labels` the class indices or the numbers, shape (rows,).

    A student's training labels are probabilities, shape (rows, classes). `groups` has the group of each row, None
    where every row is its own.
    """

    row_ids: list[int]
    inputs: Inputs
    labels: NDArray[Any]
    groups: Groups = None

    @property
    def numeric(self) -> bool:
        """Whether the labels are numbers of their own, not indices of classes."""
        return self.labels.dtype.kind == "f" and self.labels.ndim == 1

    def __len__(self) -> int:
        return len(self.row_ids)

    def take(self, rows: Sequence[int] | NDArray[np.intp]) -> Examples:
        """Return some of the rows, in the given order."""
        chosen = np.asarray(rows, dtype=np.intp)
        return Examples(
            [self.row_ids[row] for row in chosen],
            {name: array[chosen] for name, array in self.inputs.items()},
            self.labels[chosen],
            taken(self.groups, chosen),
        )

    def spread(self, rows: int) -> Examples:
        """Return at most `rows` rows of as many classes as possible: each class's first, then its second, and so on.

        Where the labels are numbers, the rows lie evenly between the smallest and the largest.
        """
        if self.numeric:
            even = np.linspace(0, len(self) - 1, min(rows, len(self))).round().astype(np.intp)
            return self.take(np.argsort(self.labels, kind="stable")[even])
        places = [np.flatnonzero(self.labels == label) for label in np.unique(self.labels)]
        depth = max(map(len, places))
        return self.take([place[level] for level in range(depth) for place in places if level < len(place)][:rows])


def load_examples(
    snapshot: Path, split: pl.DataFrame, *, image: ImageInput | None, columns: Sequence[Column]
) -> Examples:
    """Return a split as tensors. Raises BadPicture for a picture that cannot be decoded."""
    row_ids = split["row_id"].to_list()
    inputs: Inputs = {}
    if image is not None:
        inputs["image"] = load_images(snapshot, row_ids, image)
    if columns:
        inputs["features"] = feature_matrix(split, columns)
    if "label_index" in split.columns:
        return Examples(row_ids, inputs, split["label_index"].to_numpy().astype(np.int64), groups_of(split))
    return Examples(row_ids, inputs, split["label"].to_numpy().astype(np.float64), groups_of(split))


def batches(inputs: Inputs, size: int) -> Iterator[Inputs]:
    """Yield the inputs in pieces of at most `size` rows."""
    rows = len(next(iter(inputs.values())))
    for start in range(0, rows, size):
        yield {name: array[start : start + size] for name, array in inputs.items()}


def run_in_batches(engine: Engine, inputs: Inputs, size: int) -> NDArray[np.float32]:
    """Return the engine's answers for all rows, shape (rows, classes or 1), computed `size` rows at a time."""
    return np.concatenate([engine.run(piece) for piece in batches(inputs, size)])
