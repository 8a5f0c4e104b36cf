"""Pixels that end up where they do not belong: through rippled glass, by a zooming lens, on a bent surface."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sextant_components.evaluation.worse_pictures.fields import smooth_field

Pictures = NDArray[np.uint8]
ZOOM_STEPS = 6  # exposures that a zooming lens lays over each other
BENDS = 5  # points along a side between which an elastic surface bends


def glass(pictures: Pictures, reach: float, generator: np.random.Generator) -> NDArray[Any]:
    """Take each pixel from a random neighbour; `reach` is how far it lies at most, of the picture's side."""
    rows, height, width = pictures.shape[:3]
    farthest = reach * min(height, width)
    offsets = np.rint(generator.uniform(-farthest - 0.5, farthest + 0.5, (2, rows, height, width))).astype(np.intp)
    line = np.clip(np.arange(height)[None, :, None] + offsets[0], 0, height - 1)
    column = np.clip(np.arange(width)[None, None, :] + offsets[1], 0, width - 1)
    taken: NDArray[Any] = pictures[np.arange(rows)[:, None, None], line, column]
    return taken


def zoom_blur(pictures: Pictures, growth: float, _generator: np.random.Generator) -> NDArray[Any]:
    """Lay exposures over each other while the picture grows about its middle, by `growth` at the end."""
    values = pictures.astype(np.float64)
    grown = [_grown(values, 1 + growth * step / ZOOM_STEPS) for step in range(ZOOM_STEPS + 1)]
    blurred: NDArray[Any] = np.mean(grown, axis=0)
    return blurred


def _grown(values: NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    """Return pictures enlarged about their middle, cut to their size, by linear interpolation along each side."""
    for axis in (1, 2):
        middle = (values.shape[axis] - 1) / 2
        places = middle + (np.arange(values.shape[axis]) - middle) / factor
        before = np.floor(places).astype(np.intp)
        after = np.minimum(before + 1, values.shape[axis] - 1)
        part = (places - before).reshape([-1 if each == axis else 1 for each in range(4)])
        values = (1 - part) * values.take(before, axis) + part * values.take(after, axis)
    return values


def elastic(pictures: Pictures, amplitude: float, generator: np.random.Generator) -> NDArray[Any]:
    """Bend each picture by a smooth random field; `amplitude` is the largest displacement, of the picture's side."""
    from scipy.ndimage import map_coordinates

    rows, height, width, channels = pictures.shape
    size = amplitude * min(height, width)
    down, right = (smooth_field(generator, (rows, height, width), cells=BENDS, low=-size, high=size) for _ in range(2))
    line, column = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    bent = np.empty(pictures.shape)
    for row in range(rows):
        places = [line + down[row], column + right[row]]
        for channel in range(channels):
            bent[row, ..., channel] = map_coordinates(
                pictures[row, ..., channel].astype(np.float64), places, order=1, mode="nearest"
            )
    return bent
