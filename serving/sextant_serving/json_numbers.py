"""Numbers out of JSON's lists, without giving NumPy a list in which there may be text.

NumPy makes of a list of numbers with one text among them an array of texts, each as long as the longest: a small body
would take any amount of memory.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

NUMBERS = frozenset({int, float, bool, type(None)})


def flat_bytes(values: Sequence[Any]) -> NDArray[np.uint8] | None:
    """Return a flat list of whole numbers from 0 to 255 as UINT8, None for anything else; four times as fast."""
    try:
        return np.frombuffer(bytes(values), np.uint8)
    except (TypeError, ValueError):
        return None


def flat_numbers(values: Sequence[Any]) -> NDArray[np.float64] | None:
    """Return a flat list of numbers as FP64, None for anything else: null, text, lists, a number beyond FP64."""
    try:
        return np.frombuffer(array("d", values), np.float64)
    except (TypeError, OverflowError):
        return None


def nested_numbers(nested: Any) -> NDArray[Any]:
    """Return lists of numbers, nested to any depth, in the type that NumPy finds for them; nulls become NaN.

    Raises ValueError for anything but numbers in lists of equal length, OverflowError for a number beyond FP64.
    """
    level = [nested]
    while level:
        below: list[Any] = []
        for part in level:
            kinds = set(map(type, part)) if type(part) is list else {type(part)}
            if kinds == {list}:
                below.extend(part)
            elif not kinds <= NUMBERS:
                raise ValueError("not numbers")
        level = below
    found = np.asarray(nested)
    return np.asarray(nested, dtype=np.float64) if found.dtype.kind == "O" else found  # nulls, or beyond 64 bits
