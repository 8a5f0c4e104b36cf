"""The digits as files: complete, without loss, and the same each time."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from sextant_examples.digits import cells_of, picture, write_digits


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All digits, written once."""
    out = tmp_path_factory.mktemp("digits")
    assert write_digits(out) == 1797
    return out


def test_every_picture_gives_its_original_cells_back(folder: Path) -> None:
    """The pictures hold exactly what the source holds."""
    data = load_digits()
    with (folder / "table.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            index = int(row["digit_id"].removeprefix("D-"))
            pixels = np.asarray(Image.open(folder / "images" / row["image"]))
            np.testing.assert_array_equal(cells_of(pixels), data.images[index])
            assert row["label"] == str(data.target[index])


@pytest.mark.parametrize("level", range(17))
def test_each_ink_level_keeps_a_grey_of_its_own(level: int) -> None:
    """0 to 16 inked pixels become 17 greys from black to white."""
    pixels = picture(np.full((8, 8), float(level)))
    assert pixels.shape == (16, 16)
    assert (cells_of(pixels) == level).all()


def test_strokes_split_the_digits_in_thirds(folder: Path) -> None:
    """No slice of the evaluation is too small to judge."""
    with (folder / "table.csv").open(encoding="utf-8") as file:
        strokes = [row["stroke"] for row in csv.DictReader(file)]
    assert min(strokes.count(name) for name in ("thin", "medium", "bold")) > 500


def test_a_limit_keeps_the_first_digits_of_the_wanted_classes(tmp_path: Path) -> None:
    """The tiny plan sees its classes alone."""
    assert write_digits(tmp_path, classes=(0, 7), limit=30) == 30
    with (tmp_path / "table.csv").open(encoding="utf-8") as file:
        assert {row["label"] for row in csv.DictReader(file)} == {"0", "7"}
