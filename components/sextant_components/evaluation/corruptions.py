"""Pictures as a worse camera, lamp, lens or connection would have made them, at five severities.

Severity 3 lies where a person still reads the picture; criteria are judged there. The kinds and steps follow ImageNet-C
(Hendrycks and Dietterich 2019), its four further ones among them, with sizes as shares of the picture's side; `dark`
and `occlusion` are ours. Where it lays photographs of frost over a picture, fields are drawn, so that nothing has to be
fetched. All is fixed, so that results compare between models.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sextant_components.evaluation.worse_pictures import warps, weather

Pictures = NDArray[np.uint8]
Effect = Callable[[Pictures, float, np.random.Generator], NDArray[Any]]

SEVERITIES = (1, 2, 3, 4, 5)
JUDGED = 3  # the severity that criteria are about
GREY = 127


@dataclass(frozen=True)
class Corruption:
    """An effect with its strength at each severity, in the effect's own unit."""

    effect: Effect
    strengths: tuple[float, float, float, float, float]


def corrupt(pictures: Pictures, kind: str, *, severity: int = JUDGED, seed: int = 0) -> Pictures:
    """Return the pictures corrupted, same shape (rows, height, width, channels); the seed fixes what is random."""
    corruption = _KINDS[kind]
    found = corruption.effect(pictures, corruption.strengths[severity - 1], np.random.default_rng(seed))
    return _clipped(found)


def kinds() -> list[str]:
    """Return the names of all corruptions."""
    return list(_KINDS)


def _noise(pictures: Pictures, sigma: float, generator: np.random.Generator) -> NDArray[Any]:
    """Add Gaussian noise; `sigma` is of 255."""
    return pictures + generator.normal(0.0, sigma, pictures.shape)


def _shot(pictures: Pictures, photons: float, generator: np.random.Generator) -> NDArray[Any]:
    """Count photons, of which white has `photons` on average."""
    return generator.poisson(pictures / 255.0 * photons) / photons * 255.0


def _speckle(pictures: Pictures, sigma: float, generator: np.random.Generator) -> NDArray[Any]:
    """Add noise that grows with the light; `sigma` is of each pixel's own level."""
    return pictures * (1 + generator.normal(0.0, sigma, pictures.shape))


def _impulse(pictures: Pictures, share: float, generator: np.random.Generator) -> NDArray[Any]:
    """Set a share of the pixels to black or white, half each."""
    drawn = generator.random(pictures.shape[:3])[..., None]
    return np.where(drawn < share / 2, 0, np.where(drawn < share, 255, pictures))


def _blur(pictures: Pictures, passes: float, _generator: np.random.Generator) -> NDArray[Any]:
    """Apply a 3 x 3 binomial blur; a broken number of passes mixes the last one in by its part."""
    values = pictures.astype(np.float64)
    while passes > 0:
        part = min(passes, 1.0)
        values = values + part * (_binomial(values) - values)
        passes -= part
    return values


def _binomial(values: NDArray[np.float64]) -> NDArray[np.float64]:
    values = np.pad(values, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    rows = (values[:, :-2] + 2 * values[:, 1:-1] + values[:, 2:]) / 4
    blurred: NDArray[np.float64] = (rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]) / 4
    return blurred


def _defocus(pictures: Pictures, radius: float, _generator: np.random.Generator) -> NDArray[Any]:
    """Spread each point over a disc; `radius` is of the picture's side."""
    from scipy.ndimage import convolve

    reach = radius * min(pictures.shape[1:3])
    steps = np.arange(-int(np.ceil(reach)), int(np.ceil(reach)) + 1)
    distance = np.hypot(*np.meshgrid(steps, steps))
    disc = np.clip(reach + 1 - distance, 0.0, 1.0)
    kernel = (disc / disc.sum())[None, :, :, None]
    spread: NDArray[np.float64] = convolve(pictures.astype(np.float64), kernel, mode="nearest")
    return spread


def _motion(pictures: Pictures, length: float, _generator: np.random.Generator) -> NDArray[Any]:
    """Smear along the picture's width; `length` is of it."""
    from scipy.ndimage import uniform_filter1d

    steps = max(2, round(length * pictures.shape[2]))
    smeared: NDArray[np.float64] = uniform_filter1d(pictures.astype(np.float64), steps, axis=2, mode="nearest")
    return smeared


def _brightness(pictures: Pictures, factor: float, _generator: np.random.Generator) -> NDArray[Any]:
    return pictures * factor


def _saturate(pictures: Pictures, factor: float, _generator: np.random.Generator) -> NDArray[Any]:
    """Draw the colours of every pixel away from its own grey; without colours nothing changes."""
    grey = pictures.mean(axis=3, keepdims=True)
    drawn: NDArray[np.float64] = grey + factor * (pictures - grey)
    return drawn


def _contrast(pictures: Pictures, factor: float, _generator: np.random.Generator) -> NDArray[Any]:
    """Draw every pixel to the mean of its picture."""
    mean = pictures.mean(axis=(1, 2), keepdims=True)
    drawn: NDArray[np.float64] = mean + factor * (pictures - mean)
    return drawn


def _occlusion(pictures: Pictures, side: float, generator: np.random.Generator) -> NDArray[Any]:
    """Lay a grey square at a random place of each; `side` is of the picture's."""
    rows, height, width = pictures.shape[:3]
    tall, wide = max(1, int(height * side)), max(1, int(width * side))
    tops = generator.integers(0, height - tall + 1, rows)
    lefts = generator.integers(0, width - wide + 1, rows)
    covered = pictures.copy()
    for row, (top, left) in enumerate(zip(tops, lefts, strict=True)):
        covered[row, top : top + tall, left : left + wide] = GREY
    return covered


def _pixelate(pictures: Pictures, share: float, _generator: np.random.Generator) -> NDArray[Any]:
    """Shrink to a share of the side and back, as a zoomed or far camera does."""
    from PIL import Image

    height, width = pictures.shape[1:3]
    small = (max(1, round(share * width)), max(1, round(share * height)))

    def change(picture: Any) -> Any:
        return picture.resize(small, Image.Resampling.BOX).resize((width, height), Image.Resampling.NEAREST)

    return _each(pictures, change)


def _jpeg(pictures: Pictures, quality: float, _generator: np.random.Generator) -> NDArray[Any]:
    """Save as JPEG of this quality and read it again."""
    from PIL import Image

    def change(picture: Any) -> Any:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=int(quality))
        return Image.open(buffer)

    return _each(pictures, change)


def _each(pictures: Pictures, change: Callable[[Any], Any]) -> Pictures:
    from PIL import Image

    grey = pictures.shape[3] == 1
    changed = [np.asarray(change(Image.fromarray(one[..., 0] if grey else one))) for one in pictures]
    return np.stack(changed).reshape(pictures.shape)


def _clipped(values: NDArray[Any]) -> Pictures:
    clipped: Pictures = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return clipped


_KINDS: dict[str, Corruption] = {
    "noise": Corruption(_noise, (8, 14, 20, 30, 42)),
    "shot": Corruption(_shot, (60, 25, 12, 5, 3)),
    "speckle": Corruption(_speckle, (0.12, 0.18, 0.28, 0.4, 0.55)),
    "impulse": Corruption(_impulse, (0.03, 0.06, 0.09, 0.17, 0.27)),
    "blur": Corruption(_blur, (1 / 3, 2 / 3, 1, 2, 4)),
    "defocus": Corruption(_defocus, (0.013, 0.018, 0.027, 0.036, 0.045)),
    "motion": Corruption(_motion, (0.045, 0.07, 0.09, 0.11, 0.13)),
    "dark": Corruption(_brightness, (0.85, 0.7, 0.55, 0.4, 0.25)),
    "bright": Corruption(_brightness, (1.15, 1.3, 1.45, 1.6, 1.75)),
    "contrast": Corruption(_contrast, (0.8, 0.6, 0.4, 0.25, 0.15)),
    "saturate": Corruption(_saturate, (1.4, 1.8, 2.4, 3.5, 5.0)),
    "fog": Corruption(weather.fog, (0.15, 0.25, 0.35, 0.5, 0.65)),
    "snow": Corruption(weather.snow, (0.01, 0.02, 0.035, 0.055, 0.08)),
    "frost": Corruption(weather.frost, (0.15, 0.25, 0.35, 0.45, 0.55)),
    "spatter": Corruption(weather.spatter, (0.04, 0.08, 0.12, 0.18, 0.25)),
    "glass": Corruption(warps.glass, (0.005, 0.012, 0.02, 0.03, 0.04)),
    "zoom": Corruption(warps.zoom_blur, (0.04, 0.07, 0.1, 0.15, 0.2)),
    "elastic": Corruption(warps.elastic, (0.02, 0.035, 0.05, 0.07, 0.095)),
    "occlusion": Corruption(_occlusion, (0.15, 0.2, 0.25, 0.33, 0.42)),
    "pixelate": Corruption(_pixelate, (0.6, 0.5, 0.4, 0.3, 0.25)),
    "jpeg": Corruption(_jpeg, (25, 18, 15, 10, 7)),
}
