"""Batches of few sizes."""

from __future__ import annotations

import numpy as np
import pytest

from sextant_serving.batch_sizes import SizedEngine
from sextant_serving.engines import Inputs, Outputs


class Doubling:
    """Answers each row with its double, and remembers the sizes it was given."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def run(self, inputs: Inputs) -> Outputs:
        """Return shape (rows, columns)."""
        self.sizes.append(len(inputs["features"]))
        return np.asarray(inputs["features"] * 2, np.float32)


@pytest.mark.parametrize(("rows", "size"), [(1, 1), (2, 4), (4, 4), (5, 8), (8, 8)])
def test_a_batch_is_filled_up_to_the_next_size(rows: int, size: int) -> None:
    """The engine sees one of its sizes, the caller the rows it gave."""
    engine = Doubling()
    features = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)
    answer = SizedEngine(engine, [1, 4, 8]).run({"features": features})
    assert engine.sizes == [size]
    assert np.array_equal(answer, features * 2)
