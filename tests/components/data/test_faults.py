"""Faults seeded into real data are found: how many of them, and how much of what is pointed at is one."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_breast_cancer, load_digits

from sextant_components.data.suspects.labels import label_suspects, out_of_fold
from sextant_components.data.suspects.numbers import outlier_suspects, shifted_columns
from sextant_components.data.suspects.pictures import picture_suspects, twins


def _recall_and_precision(found: Sequence[int], seeded: Sequence[int]) -> tuple[float, float]:
    hits = len(set(found) & set(seeded))
    return hits / len(set(seeded)), hits / max(1, len(set(found)))


@pytest.fixture(scope="module")
def digits() -> tuple[NDArray[np.uint8], list[str]]:
    """The handwritten digits as 16 x 16 grey pictures, with their labels."""
    found = load_digits()
    pictures = [
        np.asarray(Image.fromarray((image * 15).astype(np.uint8)).resize((16, 16), Image.Resampling.BILINEAR))
        for image in found.images
    ]
    return np.stack(pictures), [str(label) for label in found.target]


def test_flipped_labels_are_pointed_at(digits: tuple[NDArray[np.uint8], list[str]]) -> None:
    """Of 5 % flipped labels, at least four in five are found, and nine in ten of what is found were flipped."""
    pictures, labels = digits
    rng = np.random.default_rng(7)
    flipped = rng.choice(len(labels), len(labels) // 20, replace=False).tolist()
    seeded = list(labels)
    for row in flipped:
        seeded[row] = str((int(labels[row]) + int(rng.integers(1, 10))) % 10)
    judged = out_of_fold(pictures.reshape(len(labels), -1).astype(np.float64), seeded)
    found = label_suspects(range(len(labels)), seeded, judged)
    recall, precision = _recall_and_precision([suspect.row_id for suspect in found], flipped)
    assert recall >= 0.8, recall
    assert precision >= 0.9, precision
    right = [suspect for suspect in found if suspect.row_id in flipped and suspect.suggestion == labels[suspect.row_id]]
    assert len(right) >= 0.9 * recall * len(flipped)


def test_pictures_saved_again_are_recognised_and_no_two_others(digits: tuple[NDArray[np.uint8], list[str]]) -> None:
    """2 % of the pictures, saved again as JPEG, are each traced to their original; different digits are not twins."""
    pictures, _ = digits
    rng = np.random.default_rng(8)
    originals = rng.choice(len(pictures), len(pictures) // 50, replace=False).tolist()
    copies = []
    for row in originals:
        buffer = io.BytesIO()
        Image.fromarray(pictures[row]).save(buffer, "JPEG", quality=95)
        copies.append(np.asarray(Image.open(buffer)))
    found = twins(range(len(pictures) + len(copies)), np.concatenate([pictures, np.stack(copies)]))
    expected = {len(pictures) + index: row for index, row in enumerate(originals)}
    recall, precision = _recall_and_precision(list(found.items()), list(expected.items()))  # type: ignore[arg-type]
    assert recall >= 0.9, recall
    assert precision >= 0.9, precision


def test_dark_and_blank_pictures_are_pointed_at(digits: tuple[NDArray[np.uint8], list[str]]) -> None:
    """Each of the pictures that were darkened or emptied is found, and no sound one."""
    pictures = digits[0].copy()
    pictures[10] //= 10
    pictures[20] = 128
    pictures[30] = 250
    assert {suspect.row_id for suspect in picture_suspects(range(len(pictures)), pictures)} == {10, 20, 30}


@pytest.mark.parametrize("factor", [1000.0, 0.001])
def test_values_in_a_wrong_unit_stand_out(factor: float) -> None:
    """One row in a hundred written in another unit is found in a column of real measurements, and few others."""
    column = load_breast_cancer().data[:, 3].copy()  # mean area, all positive and skewed
    seeded = np.random.default_rng(9).choice(len(column), len(column) // 100, replace=False)
    column[seeded] *= factor
    found = [suspect.row_id for suspect in outlier_suspects(list(range(len(column))), {"area": column})]
    recall, precision = _recall_and_precision(found, seeded.tolist())
    assert recall == 1.0
    assert precision >= 0.8, precision


def test_a_column_that_shifts_is_named_and_no_other() -> None:
    """From the middle on, one column of real measurements has an offset of one standard deviation."""
    table = load_breast_cancer().data[np.random.default_rng(10).permutation(569)]
    columns = {f"c{index}": table[:, index].copy() for index in range(10)}
    columns["c4"][300:] += columns["c4"].std()
    start = datetime(2026, 3, 1, tzinfo=UTC)
    times = pl.Series("seen", [start + timedelta(hours=row) for row in range(569)])
    assert set(shifted_columns(times, columns)) == {"c4"}
