"""Pictures as a worse camera, lamp or lens would have taken them, at one severity each.

The severities lie where a person still reads the picture; they are fixed so that results compare between models.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pictures = NDArray[np.uint8]

NOISE_SIGMA = 20.0  # of 255
DARK, BRIGHT = 0.55, 1.45
OCCLUDED = 0.25  # of the side, so a sixteenth of the area


def corrupt(pictures: Pictures, kind: str, *, seed: int = 0) -> Pictures:
    """Return the pictures corrupted, same shape (rows, height, width, channels); the seed fixes what is random."""
    return _KINDS[kind](pictures, np.random.default_rng(seed))


def _noise(pictures: Pictures, generator: np.random.Generator) -> Pictures:
    return _clipped(pictures + generator.normal(0.0, NOISE_SIGMA, pictures.shape))


def _blur(pictures: Pictures, _generator: np.random.Generator) -> Pictures:
    """Return a 3 x 3 binomial blur."""
    values = np.pad(pictures.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    rows = (values[:, :-2] + 2 * values[:, 1:-1] + values[:, 2:]) / 4
    return _clipped((rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]) / 4)


def _dark(pictures: Pictures, _generator: np.random.Generator) -> Pictures:
    return _clipped(pictures * DARK)


def _bright(pictures: Pictures, _generator: np.random.Generator) -> Pictures:
    return _clipped(pictures * BRIGHT)


def _occlusion(pictures: Pictures, generator: np.random.Generator) -> Pictures:
    """Return the pictures with a grey square at a random place of each."""
    rows, height, width = pictures.shape[:3]
    tall, wide = max(1, int(height * OCCLUDED)), max(1, int(width * OCCLUDED))
    tops = generator.integers(0, height - tall + 1, rows)
    lefts = generator.integers(0, width - wide + 1, rows)
    covered = pictures.copy()
    for row, (top, left) in enumerate(zip(tops, lefts, strict=True)):
        covered[row, top : top + tall, left : left + wide] = 127
    return covered


def _clipped(values: NDArray[np.floating[Any]]) -> Pictures:
    clipped: Pictures = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return clipped


_KINDS: dict[str, Callable[[Pictures, np.random.Generator], Pictures]] = {
    "noise": _noise,
    "blur": _blur,
    "dark": _dark,
    "bright": _bright,
    "occlusion": _occlusion,
}
