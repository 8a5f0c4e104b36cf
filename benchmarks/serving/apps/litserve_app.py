"""LitServe: JSON in, one worker, batching on.

LitServe reads annotations as objects, so this file goes without postponed ones.
"""

from typing import Any

import litserve as ls
import numpy as np
from network import MAX_ROWS, MAX_WAIT_SECONDS, PORT, Network, document_of, read_document


class Bench(ls.LitAPI):
    """Reads a v2 document, runs a batch."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's signature
        """Load the network."""
        self._network = Network()

    def decode_request(self, request: dict[str, Any]) -> Any:
        """Return the request's picture."""
        return read_document(request)[0]

    def batch(self, inputs: list[Any]) -> Any:
        """Return one array."""
        return np.stack(inputs)

    def predict(self, x: Any) -> Any:
        """Answer a batch."""
        return self._network.run(x)

    def unbatch(self, output: Any) -> list[Any]:
        """Return the rows."""
        return list(output)

    def encode_response(self, output: Any) -> dict[str, Any]:
        """Return the answer's document."""
        return document_of(output)


if __name__ == "__main__":
    api = Bench(max_batch_size=MAX_ROWS, batch_timeout=MAX_WAIT_SECONDS)
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=PORT, num_api_servers=1, generate_client_file=False, log_level="warning")
