"""What goes over the wire: one request of one picture in each format, as bytes.

Servers without the Open Inference Protocol get the same content on a route of their own: the v2 document as JSON, the
bare tensor bytes in place of v2 binary.
"""

from __future__ import annotations

import io
import json
from typing import Literal

import numpy as np
from benchmarks.serving.models import BenchModel, picture_batch

Wire = Literal["json", "binary", "jpeg", "grpc"]
Dialect = Literal["v2", "v2-base64", "own", "bentoml"]
WIRES: tuple[Wire, ...] = ("json", "binary", "jpeg", "grpc")
TITLES = {"json": "v2 JSON", "binary": "v2 binary", "jpeg": "JPEG", "grpc": "gRPC raw"}


def http_request(model: BenchModel, wire: Wire, dialect: Dialect, path: str) -> bytes:
    """Return a whole HTTP/1.1 request with one picture."""
    body, headers = _body(model, wire, dialect)
    lines = [f"POST {path} HTTP/1.1", "host: bench", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _body(model: BenchModel, wire: Wire, dialect: Dialect) -> tuple[bytes, dict[str, str]]:
    image = picture_batch(model, 1)
    tensor = {"name": "image", "datatype": "UINT8", "shape": list(image.shape)}
    if wire == "json" and dialect == "bentoml":
        return _json({"image": image.tolist()}), {"content-type": "application/json"}
    if wire == "json":
        return _json({"inputs": [{**tensor, "data": image.ravel().tolist()}]}), {"content-type": "application/json"}
    if wire == "binary" and dialect == "own":
        return image.tobytes(), {"content-type": "application/octet-stream"}
    if wire == "binary":
        sized = {**tensor, "parameters": {"binary_data_size": image.nbytes}}
        head = _json({"inputs": [sized], "outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}]})
        length = {"inference-header-content-length": str(len(head)), "content-type": "application/octet-stream"}
        return head + image.tobytes(), length
    file = jpeg(image[0])
    if dialect == "v2-base64":
        import base64

        text = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [base64.b64encode(file).decode()]}
        return _json({"inputs": [{**text, "parameters": {"content_type": "base64"}}]}), {
            "content-type": "application/json"
        }
    return file, {"content-type": "image/jpeg"}


def grpc_request(model: BenchModel, name: str) -> bytes:
    """Return a serialised ModelInferRequest with raw contents."""
    from sextant_serving.grpc_protocol import message

    image = picture_batch(model, 1)
    tensor = {"name": "image", "datatype": "UINT8", "shape": list(image.shape)}
    request = message("ModelInferRequest")(model_name=name, inputs=[tensor], raw_input_contents=[image.tobytes()])
    return bytes(request.SerializeToString())


def jpeg(picture: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    """Return a picture of shape (height, width, channels) as a JPEG file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture.squeeze()).save(file, "JPEG", quality=90)
    return file.getvalue()


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
