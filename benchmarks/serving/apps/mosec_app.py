"""mosec: one worker that reads, batches and answers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from mosec import Server, Worker
from network import MAX_ROWS, Network, document_of, read_picture


class Bench(Worker):
    """Reads a picture, runs a batch, writes a v2 document."""

    def __init__(self) -> None:
        super().__init__()
        self._network = Network()

    def deserialize(self, data: bytes) -> Any:
        """Return the request's picture."""
        return read_picture(data)

    def forward(self, data: list[Any]) -> list[Any]:
        """Answer a batch."""
        return list(self._network.run(np.concatenate(data)))

    def serialize(self, data: Any) -> bytes:
        """Return the answer's bytes."""
        return json.dumps(document_of(data)).encode()


if __name__ == "__main__":
    server = Server()
    server.append_worker(Bench, num=1, max_batch_size=MAX_ROWS, max_wait_time=2)
    server.run()
