"""From what a client or a table holds to what the network reads; training and serving share every line.

Scaling is not done here: it is inside the network.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sextant_plan.bundle import Column
from sextant_plan.reference import PICTURE_FEATURES, PROJECTIONS
from sextant_plan.schema import ImageInput
from sextant_serving.errors import BadCategory, BadColumn, BadPicture
from sextant_serving.picture_headers import claimed_scans

MAX_PIXELS = 1 << 24  # 16.8 million: a phone's picture passes
MAX_PICTURE_BYTES = 1 << 25
MAX_SCANS = 64  # encoders write about ten; each may be a few bytes that cost a pass over all pixels
SMALL_PIXELS, SMALL_PICTURE_BYTES = 1 << 12, 1 << 13
METADATA = (b"Exif", b"eXIf", b"zTXt", b"iTXt", b"iCCP")  # read before the pixels, at up to 100 times what those cost
PROJECTION_GRID = 16  # coarse enough to cost little, fine enough for what a class looks like
PROJECTION_SEED = 28
STATISTICS_GRID = 64  # drift counters read at most 64 x 64 pixels: at 224 x 224 a twelfth of the work


def decode_image(data: bytes, spec: ImageInput) -> NDArray[np.uint8]:
    """Decode a JPEG or PNG to shape (height, width, channels), turned upright, resized and denoised as `spec` says.

    Raises BadPicture if the bytes are no such picture, are cut short, or exceed the size limits.
    """
    if len(data) > MAX_PICTURE_BYTES:
        raise BadPicture(f"more than {MAX_PICTURE_BYTES} bytes")
    if claimed_scans(data) > MAX_SCANS:
        raise BadPicture(f"more than {MAX_SCANS} scans")
    pixels = _decode(data, spec, MAX_PIXELS)
    if pixels is None:
        raise BadPicture(f"more than {MAX_PIXELS} pixels")
    return pixels


def decode_small_image(data: bytes, spec: ImageInput) -> NDArray[np.uint8] | None:
    """As `decode_image` where that takes about as long as handing it to a thread and back; else None at once."""
    if len(data) > SMALL_PICTURE_BYTES or spec.width * spec.height > SMALL_PIXELS:
        return None
    if any(mark in data for mark in METADATA):
        return None
    return _decode(data, spec, SMALL_PIXELS)


def _decode(data: bytes, spec: ImageInput, most_pixels: int) -> NDArray[np.uint8] | None:
    """Return the pixels, or None, before any is decoded, if there are more than `most_pixels`. Raises BadPicture."""
    from PIL import Image, ImageFilter, ImageOps

    from sextant_serving.picture_modes import draft, to_mode

    size, mode = (spec.width, spec.height), "L" if spec.channels == 1 else "RGB"
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as picture:
            if picture.width * picture.height > most_pixels:
                return None
            draft(picture, mode, size)
            ImageOps.exif_transpose(picture, in_place=True)
            ready = to_mode(picture, mode).resize(size, Image.Resampling.BILINEAR)
            if spec.denoise != "none":
                ready = ready.filter(ImageFilter.MedianFilter(3))
            pixels = np.frombuffer(ready.tobytes(), np.uint8)
    except BadPicture:
        raise
    except Exception as error:  # Pillow's decoders raise a dozen types on malformed files
        raise BadPicture("not a readable JPEG or PNG") from error
    return pixels.reshape(spec.height, spec.width, spec.channels)


def encode_columns(rows: Sequence[Mapping[str, object]], columns: Sequence[Column]) -> NDArray[np.float32]:
    """Return shape (rows, columns): what the network reads of each row, in the order of `columns`.

    Raises BadColumn for a text where a number belongs, BadCategory for a list or an object where a category does.
    """
    encoded = np.empty((len(rows), len(columns)), dtype=np.float32)
    for index, column in enumerate(columns):
        encoded[:, index] = encode_column([row.get(column.name) for row in rows], column)
    return encoded


def encode_column(values: Sequence[object] | NDArray[np.generic], column: Column) -> NDArray[np.float32]:
    """Return shape (rows,): vocabulary indices of a category, or numbers with the default where missing.

    None and numbers that are not finite count as missing. Raises BadColumn for text that is no number, and BadCategory
    for a category that is a list or an object.
    """
    if column.vocabulary is not None:
        places = {word: place for place, word in enumerate(column.vocabulary)}
        unknown = len(column.vocabulary)
        texts = category_texts(values, column.name)
        found = [unknown if text is None else places.get(text, unknown) for text in texts]
        return np.asarray(found, dtype=np.float32)
    numbers = to_numbers(values, column.name)
    numbers = np.where(np.isfinite(numbers), numbers, column.default)
    if column.low is not None or column.high is not None:
        numbers = np.clip(numbers, column.low, column.high)
    with np.errstate(over="ignore"):
        narrow = numbers.astype(np.float32)
    return np.where(np.isfinite(narrow), narrow, np.float32(column.default))


def to_numbers(values: Sequence[object] | NDArray[np.generic], name: str) -> NDArray[np.float64]:
    """Return shape (rows,): the values of a column as numbers, NaN where there is none. Raises BadColumn."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiub":
        return values.astype(np.float64)
    return np.asarray([_number(value, name, row) for row, value in enumerate(values)], dtype=np.float64)


def is_missing(values: Sequence[object] | NDArray[np.generic]) -> NDArray[np.bool_]:
    """Return BOOL (rows,): where a column holds no value, as `encode_column` counts it for numbers."""
    if isinstance(values, np.ndarray):
        return ~np.isfinite(values) if values.dtype.kind == "f" else np.zeros(len(values), dtype=np.bool_)
    return np.fromiter(
        (value is None or (isinstance(value, float) and not math.isfinite(value)) for value in values),
        dtype=np.bool_,
        count=len(values),
    )


def category_texts(values: Sequence[object] | NDArray[np.generic], name: str) -> list[str | None]:
    """Return the texts of a column's categories, None where there is none. Raises BadCategory for a list or an object.

    Their text would depend on who writes it, and may be nested deeper than Python can follow.
    """
    texts: list[str | None] = []
    for row, value in enumerate(values):
        if isinstance(value, list | dict):
            raise BadCategory(name, row)
        texts.append(None if value is None else category_text(value))
    return texts


def category_text(value: object) -> str:
    """Return the text that stands for a category in a vocabulary: 3 and 3.0 are `3`, true is `true`."""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _number(value: object, name: str, row: int) -> float:
    if value is None:
        return math.nan
    try:
        return float(value)  # type: ignore[arg-type]
    except OverflowError:
        return math.inf
    except (TypeError, ValueError):
        raise BadColumn(name, row) from None


@dataclass(frozen=True, slots=True)
class Sampled:
    """What the statistics read of pictures, UINT8 (rows, values): `fine` for mean and std, `coarse` to be projected."""

    fine: NDArray[np.uint8]
    coarse: NDArray[np.uint8]


def sampled(batch: NDArray[np.uint8]) -> Sampled:
    """Return what the statistics read of pictures of shape (rows, height, width, channels), views where they can be.

    Larger pictures are read on a grid of at most 64 x 64 pixels, and projected from one of 16 x 16.
    """
    rows = len(batch)
    return Sampled(*(_on_grid(batch, most).reshape(rows, -1) for most in (STATISTICS_GRID, PROJECTION_GRID)))


def picture_statistics(batch: NDArray[np.uint8]) -> dict[str, NDArray[np.float64]]:
    """Return `statistics_of` pictures of shape (rows, height, width, channels)."""
    return statistics_of(sampled(batch))


def statistics_of(pictures: Sampled) -> dict[str, NDArray[np.float64]]:
    """Return each of `PICTURE_FEATURES`, shape (rows,): mean and std of the pixels (0-255), and random projections.

    Reference and live counters agree because both come from here.
    """
    pixels = pictures.fine.astype(np.uint32)
    count = pixels.shape[1]
    mean = pixels.sum(axis=1) / count
    square = np.einsum("ij,ij->i", pixels, pixels) / count  # 64 * 64 * 3 * 255 ** 2 fits in 32 bits
    found = {"image.brightness": mean, "image.contrast": np.sqrt(np.maximum(square - mean * mean, 0.0))}
    return {**found, **dict(zip(PICTURE_FEATURES[len(found) :], _projected(pictures.coarse).T, strict=True))}


def _on_grid(batch: NDArray[np.uint8], most: int) -> NDArray[np.uint8]:
    """Return every so-manieth pixel, so that at most `most` x `most` are left."""
    height, width = batch.shape[1:3]
    return batch[:, :: -(-height // most), :: -(-width // most)]


def _projected(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return shape (rows, PROJECTIONS): pictures, each freed of its brightness and contrast, in random directions."""
    content = pixels.astype(np.float32)
    content -= content.mean(axis=1, keepdims=True)
    spread = np.sqrt(np.einsum("ij,ij->i", content, content))[:, None]
    directions = _directions(pixels.shape[1])
    return np.asarray((content @ directions) / np.maximum(spread, np.float32(1)), dtype=np.float64)


@lru_cache(maxsize=8)
def _directions(pixels: int) -> NDArray[np.float32]:
    """Return random signs, shape (pixels, PROJECTIONS); the same for the same number (Achlioptas 2003)."""
    rng = np.random.default_rng([PROJECTION_SEED, pixels])
    return rng.choice(np.array([-1, 1], dtype=np.float32), size=(pixels, PROJECTIONS))
