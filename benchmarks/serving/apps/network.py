"""What every peer's application shares: the same ONNX Runtime session, and how a request's bytes become a picture.

Runs in the peer's own environment, so it needs NumPy, Pillow and ONNX Runtime alone. The variables BENCH_MODEL (the
ONNX file), BENCH_SHAPE (height,width,channels) and BENCH_PORT are set by the benchmark.
"""

from __future__ import annotations

import base64
import io
import json
import os
from typing import Any

import numpy as np

PORT = int(os.environ.get("BENCH_PORT", "0"))
SHAPE = tuple(int(part) for part in os.environ.get("BENCH_SHAPE", "8,8,1").split(","))
MAX_ROWS, MAX_WAIT_SECONDS = 32, 0.002


class Network:
    """The model on one thread that does not spin."""

    def __init__(self) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"]
        )

    def run(self, images: np.ndarray) -> np.ndarray:
        """Return probabilities of shape (rows, 10)."""
        return self._session.run(["probabilities"], {"image": images})[0]


def read_picture(body: bytes) -> np.ndarray:
    """Return one picture of shape (1, height, width, channels) from bare tensor bytes, a v2 document or a JPEG."""
    if len(body) == int(np.prod(SHAPE)):
        return np.frombuffer(body, np.uint8).reshape(1, *SHAPE)
    if body[:1] == b"{":
        return read_document(json.loads(body))
    return decode(body)


def read_document(document: dict[str, Any]) -> np.ndarray:
    """Return the picture of a v2 document."""
    tensor = document["inputs"][0]
    if tensor["datatype"] == "BYTES":
        return decode(base64.b64decode(tensor["data"][0]))
    return np.asarray(tensor["data"], np.uint8).reshape(tensor["shape"])


def decode(file: bytes) -> np.ndarray:
    """Return a JPEG's pixels at the model's size, shape (1, height, width, channels)."""
    from PIL import Image

    mode = "L" if SHAPE[2] == 1 else "RGB"
    with Image.open(io.BytesIO(file)) as picture:
        return np.asarray(picture.convert(mode).resize((SHAPE[1], SHAPE[0]))).reshape(1, *SHAPE)


def document_of(row: np.ndarray) -> dict[str, Any]:
    """Return the answer to one picture as a v2 document."""
    output = {"name": "probabilities", "datatype": "FP32", "shape": [1, len(row)], "data": row.tolist()}
    return {"model_name": "bench", "outputs": [output]}
