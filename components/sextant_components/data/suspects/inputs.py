"""The rows as numbers, without a trained model: standardised columns and small grey pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sextant_components.data.snapshots import picture_batches
from sextant_components.data.table_files import as_numbers, as_text
from sextant_plan.schema import ImageInput, Plan
from sextant_serving.picture_measures import THUMBNAIL, thumbnail

if TYPE_CHECKING:
    import polars as pl

MAX_CATEGORIES = 50  # a column of more values is a key or free text, of no use to a distance


def thumbnails(snapshot: Path, row_ids: list[int], spec: ImageInput, side: int = THUMBNAIL) -> NDArray[np.uint8]:
    """Return the pictures of these rows in grey, shape (rows, side, side); the rows must be readable pictures."""
    from sextant_serving.preprocessing import decode_image

    place = {row_id: index for index, row_id in enumerate(row_ids)}
    small = np.zeros((len(row_ids), side, side), dtype=np.uint8)
    for found, pictures in picture_batches(snapshot):
        for row_id, data in zip(found, pictures, strict=True):
            if row_id in place:
                pixels = decode_image(data, spec)
                small[place[row_id]] = thumbnail(pixels, side)
    return small


def input_matrix(plan: Plan, rows: pl.DataFrame, pictures: NDArray[np.uint8] | None) -> NDArray[np.float64]:
    """Return what the model reads of each row as numbers of equal weight a part, shape (rows, width).

    Numbers are standardised with their median where missing, categories one-hot, and the picture's pixels
    together weigh as much as four columns. Features of the store are not here: they are joined later.
    """
    parts: list[NDArray[np.float64]] = []
    for name in plan.model.inputs.columns:
        numbers = as_numbers(rows[name])
        if plan.data.columns[name].type == "number" and numbers.dtype.is_numeric():
            parts.append(_standardised(numbers.to_numpy().astype(np.float64))[:, None])
            continue
        words = np.asarray(as_text(rows[name]).fill_null("").to_list())
        kinds = np.unique(words)
        if len(kinds) <= MAX_CATEGORIES:
            parts.append((words[:, None] == kinds[None, :]).astype(np.float64))
    if pictures is not None:
        flat = pictures.reshape(len(pictures), -1).astype(np.float64)
        spread = flat.std() or 1.0
        parts.append((flat - flat.mean(axis=0)) / spread * (2.0 / np.sqrt(flat.shape[1])))
    return np.hstack(parts) if parts else np.zeros((rows.height, 0))


def _standardised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return np.zeros_like(values)
    filled = np.where(np.isfinite(values), values, np.median(finite))
    return np.asarray((filled - finite.mean()) / (finite.std() or 1.0))
