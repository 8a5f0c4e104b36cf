"""MLServer: a custom runtime with adaptive batching, in the server's own process."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import numpy as np
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from network import MAX_ROWS, MAX_WAIT_SECONDS, PORT, Network, decode


class Bench(MLModel):
    """Reads v2 tensors or a JPEG as BYTES."""

    async def load(self) -> bool:
        """Load the network."""
        self._network = Network()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer a batch."""
        tensor = payload.inputs[0]
        image: Any
        if tensor.datatype == "BYTES":
            import base64

            image = np.concatenate([decode(base64.b64decode(file)) for file in tensor.data.root])
        else:
            image = NumpyCodec.decode_input(tensor).astype(np.uint8, copy=False)
        output = NumpyCodec.encode_output("probabilities", self._network.run(image))
        return InferenceResponse(model_name="bench", outputs=[output])


async def main() -> None:
    """Serve until stopped."""
    grpc_port = int(os.environ["BENCH_GRPC_PORT"])
    server = MLServer(Settings(http_port=PORT, grpc_port=grpc_port, metrics_port=0, parallel_workers=0, debug=False))
    model = ModelSettings(name="bench", implementation=Bench, max_batch_size=MAX_ROWS, max_batch_time=MAX_WAIT_SECONDS)
    await server.start([model])


if __name__ == "__main__":
    asyncio.run(main())
