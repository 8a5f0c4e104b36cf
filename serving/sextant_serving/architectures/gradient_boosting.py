"""Gradient-boosted decision trees over the columns: the rival that every network on a table has to beat.

The trees are LightGBM's (Ke et al. 2017), kept in its own text format, which holds numbers and no code.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sextant_serving.architectures import Param

if TYPE_CHECKING:
    import lightgbm

NEEDS = ("features",)
PARAMS: dict[str, Param] = {"trees": 300, "leaves": 31, "leaf_rows": 10}
# What the search varies, [low, high]: the two settings that matter most, over the spans that LightGBM's guide advises.
LEARNING_RATE = (0.02, 0.3)
LEAVES = (4, 64)
MIDDLE = {"learning_rate": 0.08, "leaves": 16}  # the first trial: their geometric means


class Trees:
    """Fitted trees; `reads` names the inputs they take, as a network's does."""

    reads = NEEDS

    def __init__(self, booster: lightgbm.Booster, *, threads: int = 1) -> None:
        self._booster, self._threads = booster, threads

    @classmethod
    def from_text(cls, text: str, *, threads: int = 1) -> Trees:
        """Read LightGBM's text format. Raises ValueError for text that is none."""
        import lightgbm

        try:
            return cls(lightgbm.Booster(model_str=text), threads=threads)
        except lightgbm.basic.LightGBMError as error:
            raise ValueError(f"no LightGBM model: {error}") from error

    @property
    def columns(self) -> int:
        """How many columns the trees read."""
        return int(self._booster.num_feature())

    @property
    def outputs(self) -> int:
        """How many classes the trees tell apart, 1 if they answer with a number."""
        return int(self._booster.num_model_per_iteration())

    @property
    def learned_numbers(self) -> int:
        """The thresholds, the columns they are for and the leaves' values: what size is to a network."""
        return sum(3 * tree["num_leaves"] - 2 for tree in self._booster.dump_model()["tree_info"])

    def answers(self, features: NDArray[Any]) -> NDArray[np.float32]:
        """Return probabilities, shape (rows, classes), or numbers, (rows, 1), of features, (rows, columns)."""
        found = self._booster.predict(features, num_threads=self._threads)
        return np.asarray(found, dtype=np.float32).reshape(len(features), self.outputs)

    def save(self, path: Path) -> None:
        """Write LightGBM's text format; the same trees give the same bytes."""
        path.write_text(self._booster.model_to_string(), encoding="utf-8")
