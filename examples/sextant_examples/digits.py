"""Handwritten digits as scikit-learn ships them: 1,797 grey pictures of the UCI test set.

Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository,
doi:10.24432/C50P49, licence CC BY 4.0. Each original has 8 x 8 cells with 0 to 16 inked pixels.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sextant_examples.output import arguments, write_table

LEVELS = 16  # inked pixels of a cell of 4 x 4 in the scan
SCALE = 2  # each cell as 2 x 2 pixels, so that a network can pool twice and a blur of one pixel is a mild one
THIN, BOLD = 4.6, 5.2  # thirds of the mean ink a cell, over all 1,797 digits


def picture(cells: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return the digit as grey pixels, ink white, without loss: `cells_of` gives the cells back.

    `cells` has shape (8, 8) with whole numbers from 0 to 16; the picture has shape (16, 16).
    """
    grey = (cells.astype(np.int64) * 255 // LEVELS).astype(np.uint8)
    return np.kron(grey, np.ones((SCALE, SCALE), dtype=np.uint8))


def cells_of(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the 8 x 8 cells from which `picture` drew these pixels."""
    return -(-pixels[::SCALE, ::SCALE].astype(np.int64) * LEVELS // 255)


def stroke(cells: NDArray[np.float64]) -> str:
    """Return how much ink the digit has: thin, medium or bold, a third of all digits each."""
    ink = float(cells.mean())
    return "thin" if ink < THIN else "medium" if ink < BOLD else "bold"


def write_digits(out: Path, *, classes: Collection[int] = range(10), limit: int | None = None) -> int:
    """Write `images/*.png` and `table.csv`; return the number of rows.

    `limit` keeps the first so many digits of the wanted classes.
    """
    from PIL import Image
    from sklearn.datasets import load_digits

    (out / "images").mkdir(parents=True, exist_ok=True)
    data = load_digits()
    wanted = [index for index, label in enumerate(data.target) if int(label) in classes][:limit]
    rows = []
    for index in wanted:
        name = f"{index:04d}.png"
        Image.fromarray(picture(data.images[index])).save(out / "images" / name)
        digit = {"image": name, "digit_id": f"D-{index:04d}", "stroke": stroke(data.images[index])}
        rows.append({**digit, "label": str(data.target[index])})
    write_table(out / "table.csv", ["image", "digit_id", "stroke", "label"], rows)
    return len(rows)


def main() -> None:
    """Write the digits into the folder named on the command line."""
    out = arguments(
        "sextant_examples.digits", "Write the UCI handwritten digits as PNG files and a table."
    ).parse_args()
    print(f"{write_digits(out.out)} digits in {out.out}")


if __name__ == "__main__":
    main()
