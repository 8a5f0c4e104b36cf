"""A sample of the rows as numbers: small pictures and encoded columns, each kind of input scaled to weigh the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sextant_components.data.table_files import as_text

if TYPE_CHECKING:
    from sextant_components.planning.feasibility.heading import Study

SAMPLE_ROWS = 800  # leave-one-out over 800 rows takes under a second on one core
PICTURE_SIDE = 16  # pixels; enough for shape and shade, and 64 pictures decode in 10 ms
MAX_CATEGORIES = 50

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """Rows drawn by a fixed seed; `pictures` has shape (rows, side, side, channels), `columns` (rows, numbers)."""

    rows: list[int]
    labels: list[str]
    pictures: NDArray[np.uint8] | None
    columns: list[Matrix]

    @cached_property
    def matrix(self) -> Matrix:
        """The inputs, shape (rows, numbers), each block centred and divided by its own root mean square."""
        return self.matrix_of(self.pictures)

    def matrix_of(self, pictures: NDArray[np.uint8] | None) -> Matrix:
        """Return the inputs with these pictures in place of the sample's, scaled as the sample's are."""
        blocks = list(zip(self.columns, self.columns, strict=True))
        if self.pictures is not None and pictures is not None:
            blocks.insert(0, (_flat(self.pictures), _flat(pictures)))
        return np.hstack([_scaled(known, shown) for known, shown in blocks])


def draw_sample(study: Study, *, most: int = SAMPLE_ROWS) -> Sample:
    """Return at most so many rows of a study; those whose picture cannot be read are black, and a little harder."""
    rows = _chosen(study.rows.height, most)
    inputs = study.plan.model.inputs
    names = [*inputs.columns, *(name.partition(":")[2] for name in inputs.features)]
    return Sample(
        rows=rows,
        labels=[study.labels[row] for row in rows] if study.labels else [],
        pictures=decoded_pictures(study, rows, side=PICTURE_SIDE) if inputs.image is not None else None,
        columns=[_column_block(study, name, rows) for name in names],
    )


def _chosen(rows: int, most: int) -> list[int]:
    if rows <= most:
        return list(range(rows))
    return sorted(np.random.default_rng(0).choice(rows, most, replace=False).tolist())


def _flat(pictures: NDArray[np.uint8]) -> Matrix:
    return pictures.reshape(len(pictures), -1).astype(np.float64)


def _scaled(known: Matrix, shown: Matrix) -> Matrix:
    centre = known.mean(axis=0)
    spread = np.sqrt(((known - centre) ** 2).sum(axis=1).mean())
    return np.asarray((shown - centre) / spread if spread > 0 else shown - centre)


def decoded_pictures(study: Study, rows: Sequence[int], *, side: int | None = None) -> NDArray[np.uint8]:
    """Return the rows' pictures as squares of a side, or else of the model's size; an unreadable one is black."""
    from sextant_plan.schema import ImageInput
    from sextant_serving.errors import BadPicture
    from sextant_serving.preprocessing import decode_image

    assert study.plan.model.inputs.image is not None
    assert study.pictures is not None
    spec = study.plan.model.inputs.image
    if side is not None:
        spec = ImageInput(height=side, width=side, channels=spec.channels)
    pictures = np.zeros((len(rows), spec.height, spec.width, spec.channels), dtype=np.uint8)
    for place, row in enumerate(rows):
        try:
            pictures[place] = decode_image(study.pictures[row].read_bytes(), spec).reshape(pictures[place].shape)
        except BadPicture:  # verify counts them
            continue
    return pictures


def _column_block(study: Study, name: str, rows: Sequence[int]) -> Matrix:
    column = study.rows[name][list(rows)]
    if column.dtype.is_numeric():
        numbers = column.cast(float).to_numpy().astype(np.float64)
        known = numbers[np.isfinite(numbers)]
        typical = float(np.median(known)) if known.size else 0.0
        return np.where(np.isfinite(numbers), numbers, typical).reshape(-1, 1)
    words = as_text(column).fill_null("").to_list()
    common = [word for word, _ in Counter(words).most_common(MAX_CATEGORIES)]
    return np.asarray([[word == other for other in common] for word in words], dtype=np.float64)
