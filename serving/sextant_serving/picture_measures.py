"""How much a picture shows, as four numbers of its thumbnail: measured alike in verification and in production."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

THUMBNAIL = 16  # pixels a side; 256 numbers tell the classes of small pictures apart and keep neighbours cheap
CHUNK = 4096  # pictures measured at a time: 8 MB of numbers at 16 x 16 pixels


def thumbnail(pixels: NDArray[np.uint8], side: int = THUMBNAIL) -> NDArray[np.uint8]:
    """Return a decoded picture, shape (height, width, channels), in grey, shape (side, side)."""
    from PIL import Image

    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).convert("L")
    return np.asarray(picture.resize((side, side), Image.Resampling.BOX))


def measured(thumbnails: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return `prediction_log.PICTURE_MEASURES` of grey pictures of shape (rows, side, side), shape (4, rows)."""
    parts = [_measured(thumbnails[start : start + CHUNK]) for start in range(0, len(thumbnails), CHUNK)]
    return np.concatenate(parts, axis=1) if parts else np.empty((4, 0))


def _measured(pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
    flat = pictures.reshape(len(pictures), -1).astype(np.float64)
    low, high = np.percentile(flat, [1, 99], axis=1)
    return np.stack([low, high, flat.std(axis=1), _sharpness(pictures.astype(np.float64))])


def _sharpness(pictures: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the variance of the Laplacian (Pech-Pacheco et al. 2000) over that of the picture itself."""
    inner = pictures[:, 1:-1, 1:-1]
    around = pictures[:, :-2, 1:-1] + pictures[:, 2:, 1:-1] + pictures[:, 1:-1, :-2] + pictures[:, 1:-1, 2:]
    contrast = np.maximum(pictures.reshape(len(pictures), -1).var(axis=1), 1.0)
    return np.asarray((around - 4 * inner).reshape(len(pictures), -1).var(axis=1) / contrast)
