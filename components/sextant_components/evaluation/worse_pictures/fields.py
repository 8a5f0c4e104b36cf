"""Random fields over a picture: smooth ones, from which fog, frost, drops and warps are made."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float64]


def smooth_field(
    generator: np.random.Generator, shape: tuple[int, int, int], *, cells: int, low: float, high: float
) -> Field:
    """Return a field for each row, shape (rows, height, width), from values drawn at `cells` x `cells` points."""
    from scipy.ndimage import zoom

    rows, height, width = shape
    drawn = generator.uniform(low, high, (rows, cells, cells))
    field: Field = zoom(drawn, (1, height / cells, width / cells), order=1, grid_mode=False)
    return field[:, :height, :width]


def highest_share(field: Field, share: float) -> NDArray[np.bool_]:
    """Return where each row's field is among its highest `share`."""
    edges = np.quantile(field, 1 - share, axis=(1, 2), keepdims=True)
    found: NDArray[np.bool_] = field > edges
    return found
