"""KServe's stock Python server with a custom model: one request at a time, as it has no batching of its own."""

from __future__ import annotations

import os
from typing import Any

import kserve
from kserve.protocol.infer_type import InferOutput, InferRequest, InferResponse
from network import PORT, Network, decode


class Bench(kserve.Model):
    """Reads v2 tensors or a JPEG as BYTES."""

    def __init__(self) -> None:
        super().__init__("bench")
        self._network = Network()
        self.ready = True

    def predict(self, payload: InferRequest, headers: Any = None, response_headers: Any = None) -> InferResponse:  # noqa: ARG002 - KServe's signature
        """Answer one request."""
        tensor = payload.inputs[0]
        if tensor.datatype == "BYTES":
            import base64

            image = decode(base64.b64decode(tensor.data[0]))
        else:
            image = tensor.as_numpy()
        output = InferOutput("probabilities", [len(image), 10], "FP32")
        output.set_data_from_numpy(self._network.run(image), binary_data=payload.use_binary_outputs)
        return InferResponse(payload.id or "1", "bench", [output], use_binary_outputs=payload.use_binary_outputs)


if __name__ == "__main__":
    server = kserve.ModelServer(
        http_port=PORT, grpc_port=int(os.environ["BENCH_GRPC_PORT"]), workers=1, access_log_format=None
    )
    server.start([Bench()])
