"""BentoML: a service with a batchable endpoint; it takes a nested list under the argument's name."""

from __future__ import annotations

import bentoml
import numpy as np
from network import MAX_ROWS, Network


@bentoml.service(workers=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Bench:
    """Answers POST /predict."""

    def __init__(self) -> None:
        self._network = Network()

    # BentoML's wait is a goal for the whole answer; a shorter one makes it refuse requests of slow models.
    @bentoml.api(batchable=True, max_batch_size=MAX_ROWS, max_latency_ms=10_000)
    def predict(self, image: np.ndarray) -> np.ndarray:
        """Answer a batch."""
        return self._network.run(image.astype(np.uint8, copy=False))
