"""Ray Serve: one replica behind its HTTP proxy, batching on."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from network import MAX_ROWS, MAX_WAIT_SECONDS, PORT, Network, document_of, read_picture
from ray import serve
from starlette.requests import Request


@serve.deployment(max_ongoing_requests=256)
class Bench:
    """Reads a request's body, runs a batch."""

    def __init__(self) -> None:
        self._network = Network()

    @serve.batch(max_batch_size=MAX_ROWS, batch_wait_timeout_s=MAX_WAIT_SECONDS)
    async def answer(self, images: list[Any]) -> list[Any]:
        """Answer a batch."""
        return list(self._network.run(np.concatenate(images)))

    async def __call__(self, request: Request) -> dict[str, Any]:
        """Answer one request."""
        return document_of(await self.answer(read_picture(await request.body())))


if __name__ == "__main__":
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    serve.run(Bench.bind(), route_prefix="/")
    threading.Event().wait()
