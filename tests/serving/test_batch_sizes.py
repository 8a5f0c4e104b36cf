"""Batches of few sizes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from sextant_serving import engines
from sextant_serving.batch_sizes import SizedEngine
from sextant_serving.engines import Engine, Inputs, Outputs
from sextant_serving.loading import Source, load


class Doubling:
    """Answers each row with its double, and remembers the sizes it was given."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def run(self, inputs: Inputs) -> Outputs:
        """Return shape (rows, columns)."""
        self.sizes.append(len(inputs["features"]))
        return np.asarray(inputs["features"] * 2, np.float32)


class Watched:
    """A real engine that remembers the sizes it was given."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.sizes: list[int] = []

    def run(self, inputs: Inputs) -> Outputs:
        """Return the engine's answers."""
        self.sizes.append(len(inputs["features"]))
        return self._engine.run(inputs)


@pytest.mark.parametrize(
    ("sizes", "warm", "filled"), [([1, 4, 8], {1, 4, 8}, 4), ([], {1, 8}, 3)], ids=["few-sizes", "any-size"]
)
def test_a_loaded_engine_has_run_each_of_its_sizes(
    make_bundle: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, *, sizes: list[int], warm: set[int], filled: int
) -> None:
    """After the golden requests come one batch of each size, and from then on no batch of another size."""
    watched: list[Watched] = []

    def load_watched(*arguments: Any) -> Watched:
        watched.append(Watched(engines.OnnxEngine(*arguments)))
        return watched[0]

    monkeypatch.setitem(cast(dict[str, Any], engines.KINDS), "onnx", load_watched)
    with ThreadPoolExecutor(1) as thread:
        loaded = load(Source(make_bundle(serving={"batch_sizes": sizes})), threads=1, lookup_thread=thread)
    golden, *rest = watched[0].sizes
    assert (golden, set(rest)) == (16, warm)
    rows: Inputs = {"image": np.zeros((3, 8, 8, 1), np.uint8), "features": np.zeros((3, 2), np.float32)}
    assert len(loaded.engine.run(rows)) == 3
    assert watched[0].sizes[-1] == filled


@pytest.mark.parametrize(("rows", "size"), [(1, 1), (2, 4), (4, 4), (5, 8), (8, 8)])
def test_a_batch_is_filled_up_to_the_next_size(rows: int, size: int) -> None:
    """The engine sees one of its sizes, the caller the rows it gave."""
    engine = Doubling()
    features = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)
    answer = SizedEngine(engine, [1, 4, 8]).run({"features": features})
    assert engine.sizes == [size]
    assert np.array_equal(answer, features * 2)
