"""Batches of few sizes, for engines that are slow on a size they have not seen."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from sextant_serving.engines import Engine, Inputs, Outputs


class SizedEngine:
    """Fills a batch up with blank rows to the next of `sizes`; a batch has no more rows than the last of them."""

    def __init__(self, engine: Engine, sizes: Sequence[int]) -> None:
        self._engine, self._sizes = engine, sizes

    def run(self, inputs: Inputs) -> Outputs:
        """Return shape (rows, classes), of the rows that were given alone."""
        rows = len(next(iter(inputs.values())))
        size = self._sizes[bisect_left(self._sizes, rows)]
        if size == rows:
            return self._engine.run(inputs)
        blank = size - rows
        padded = {
            name: np.concatenate([array, np.zeros((blank, *array.shape[1:]), array.dtype)])
            for name, array in inputs.items()
        }
        return self._engine.run(padded)[:rows]
