"""Pictures that show little: dark, overexposed, blank or blurred; and pictures that nearly equal each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sextant_components.data.suspects.suspect import PICTURE, TWIN, Suspect
from sextant_serving.picture_measures import measured

DARK, BRIGHT = 40.0, 215.0  # of 255: the brightest, or the darkest, hundredth of the pixels lies beyond
BLANK = 2.0  # standard deviation of grey levels, of 255
BLURRED = 0.05  # of the median picture's sharpness
TWIN_LEVELS = 3.0  # mean difference in grey levels; a picture saved again as JPEG differs by about 1
HASH_BITS, BANDS = 64, 4  # two hashes that differ in fewer bits than there are bands agree in a whole band


def picture_suspects(row_ids: Sequence[int], pictures: NDArray[np.uint8]) -> list[Suspect]:
    """Return the pictures that show little; `pictures` are grey, shape (rows, side, side)."""
    return measured_suspects(row_ids, measured(pictures))


def measured_suspects(row_ids: Sequence[int], measures: NDArray[np.float64]) -> list[Suspect]:
    """Return the pictures that show little by their `PICTURE_MEASURES`, shape (4, rows).

    Blurred is what is far less sharp than the median picture of these.
    """
    low, high, spread, sharp = measures
    usual = float(np.median(sharp)) or 1.0
    faults = {
        "dark": (high < DARK, high / DARK),
        "overexposed": (low > BRIGHT, (255 - low) / (255 - BRIGHT)),
        "blank": (spread < BLANK, spread / BLANK),
        "blurred": (sharp < BLURRED * usual, sharp / (BLURRED * usual)),
    }
    return [
        Suspect(row_ids[index], PICTURE, f"the picture is {fault}", round(float(np.clip(score[index], 0, 1)), 6))
        for fault, (mask, score) in faults.items()
        for index in np.flatnonzero(mask).tolist()
    ]


def twins(row_ids: Sequence[int], pictures: NDArray[np.uint8]) -> dict[int, int]:
    """Return, for each picture that nearly equals an earlier row's, that first row; `pictures` as above.

    A difference hash finds the pairs to compare without comparing all of them; the pixels decide.
    """
    hashes = _difference_hashes(pictures)
    first: dict[int, int] = {}
    buckets: dict[tuple[int, int], list[int]] = defaultdict(list)
    width = HASH_BITS // BANDS
    for index, value in enumerate(hashes):
        keys = [(band, (value >> (band * width)) & ((1 << width) - 1)) for band in range(BANDS)]
        candidates = sorted({other for key in keys for other in buckets[key]})
        alike = [other for other in candidates if _nearly_equal(hashes, pictures, index, other)]
        if alike:
            first[row_ids[index]] = row_ids[alike[0]]
            continue
        for key in keys:
            buckets[key].append(index)
    return first


def _nearly_equal(hashes: Sequence[int], pictures: NDArray[np.uint8], one: int, other: int) -> bool:
    if (hashes[one] ^ hashes[other]).bit_count() >= BANDS:
        return False
    difference = pictures[one].astype(np.int16) - pictures[other].astype(np.int16)
    return float(np.abs(difference).mean()) <= TWIN_LEVELS


def _difference_hashes(pictures: NDArray[np.uint8]) -> list[int]:
    """Return imagehash's difference hash of each picture as an integer of HASH_BITS bits."""
    import imagehash
    from PIL import Image

    found = [imagehash.dhash(Image.fromarray(picture), hash_size=8).hash.ravel() for picture in pictures]
    return [int.from_bytes(np.packbits(bits).tobytes(), "big") for bits in found]


def twin_suspects(first: dict[int, int]) -> list[Suspect]:
    """Return one suspect for each picture that nearly equals an earlier row's."""
    return [Suspect(row, TWIN, f"the picture nearly equals row {other}'s", 0.0) for row, other in first.items()]
