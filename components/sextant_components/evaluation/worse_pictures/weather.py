"""What the weather puts between the lens and what is pictured, or onto the lens."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sextant_components.evaluation.worse_pictures.fields import highest_share, smooth_field

Pictures = NDArray[np.uint8]
FLAKE = 0.09  # length of a flake's streak, of the picture's side
ICE, MUD = 225.0, 60.0  # grey levels of frost and of what spatters


def fog(pictures: Pictures, density: float, generator: np.random.Generator) -> NDArray[Any]:
    """Mix in white by a smooth random density; `density` is its mean."""
    field = smooth_field(generator, _size(pictures), cells=4, low=0.5, high=1.5)
    return _mixed(pictures, np.clip(density * field, 0.0, 1.0), 255.0)


def snow(pictures: Pictures, share: float, generator: np.random.Generator) -> NDArray[Any]:
    """Let flakes fall askew on a `share` of the pixels, before a background that snow has whitened."""
    flakes = (generator.random(_size(pictures)) < share).astype(np.float64)
    length = max(2, round(FLAKE * min(pictures.shape[1:3])))
    streaks = np.max([np.roll(flakes, (step, step // 2), axis=(1, 2)) for step in range(length)], axis=0)
    whitened = _mixed(pictures, np.full(_size(pictures), 2 * share), 255.0)
    return _mixed(whitened, 0.9 * streaks, 255.0)


def frost(pictures: Pictures, share: float, generator: np.random.Generator) -> NDArray[Any]:
    """Cover a `share` of the picture with crystals: ridges of fields of several sizes, thicker the surer the ridge."""
    ridges = sum(
        (1 - np.abs(smooth_field(generator, _size(pictures), cells=cells, low=-1.0, high=1.0))) / level
        for level, cells in enumerate((4, 8, 16), 1)
    )
    assert isinstance(ridges, np.ndarray)
    return _mixed(pictures, 0.75 * highest_share(ridges, share), ICE)


def spatter(pictures: Pictures, share: float, generator: np.random.Generator) -> NDArray[Any]:
    """Cover a `share` of the picture with drops of mud."""
    drops = smooth_field(generator, _size(pictures), cells=10, low=0.0, high=1.0)
    return _mixed(pictures, 0.9 * highest_share(drops, share), MUD)


def _size(pictures: NDArray[Any]) -> tuple[int, int, int]:
    rows, height, width = pictures.shape[:3]
    return rows, height, width


def _mixed(pictures: NDArray[Any], part: NDArray[Any], level: float) -> NDArray[Any]:
    """Return the pictures with a grey level mixed in by its part, shape (rows, height, width)."""
    mixed: NDArray[Any] = (1 - part[..., None]) * pictures + part[..., None] * level
    return mixed
