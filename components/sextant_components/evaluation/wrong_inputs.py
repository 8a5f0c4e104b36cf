"""Requests that are wrong: a server refuses each with a 4xx code that says why, and goes on answering the others."""

from __future__ import annotations

import http.client
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np

from sextant_plan.bundle import BundleSpec

if TYPE_CHECKING:
    from sextant_serving.client import Client

JSON, BINARY, PNG = "application/json", "application/octet-stream", "image/png"
GIANT_SIDE = 60_000  # pixels; 10 GiB if it were decoded
NOISE_BYTES = 4096


@dataclass(frozen=True)
class WrongRequest:
    """A request with a fault in it; `fault` says what is wrong."""

    fault: str
    path: str
    body: bytes
    kind: str


@dataclass(frozen=True)
class Refusal:
    """How a wrong request was met; a status of 0 is no answer at all."""

    fault: str
    status: int

    @property
    def proper(self) -> bool:
        """Whether the request was refused as the sender's fault."""
        return 400 <= self.status < 500


def send_wrong(client: Client, spec: BundleSpec, picture: bytes | None) -> list[Refusal]:
    """Send every wrong request that fits what the model reads; `picture` is a sound one, to be spoilt."""
    return [Refusal(wrong.fault, _status(client, wrong)) for wrong in wrong_requests(client.model, spec, picture)]


def wrong_requests(model: str, spec: BundleSpec, picture: bytes | None) -> Iterator[WrongRequest]:
    """Yield the wrong requests, always the same ones."""
    rows, tensors = f"/v1/models/{quote(model)}:predict", f"/v2/models/{quote(model)}/infer"
    noise = np.random.default_rng(0).bytes(NOISE_BYTES)
    yield WrongRequest("no JSON", rows, b'{"instances": [', JSON)
    yield WrongRequest("no rows", rows, b'{"instances": []}', JSON)
    yield WrongRequest("a text for a row", rows, b'{"instances": ["row"]}', JSON)
    yield WrongRequest("lists of unequal length", rows, b'{"instances": [[1, 2], [3]]}', JSON)
    yield WrongRequest("deep nesting", rows, b'{"instances": ' + b"[" * 500 + b"]" * 500 + b"}", JSON)
    yield WrongRequest("no inputs", tensors, b'{"inputs": []}', JSON)
    yield WrongRequest("an unknown tensor", tensors, _tensor("other", "FP32", [1, 1], b"[0]"), JSON)
    yield WrongRequest("random bytes", tensors, noise, BINARY)
    for tensor in spec.inputs:
        shape = [1, *tensor.shape[1:-1], tensor.shape[-1] + 1]
        data = b"[" + b",".join([b"0"] * int(np.prod(shape))) + b"]"
        yield WrongRequest(
            f"{tensor.name} of another shape", tensors, _tensor(tensor.name, tensor.datatype, shape, data), JSON
        )
        yield WrongRequest(
            f"{tensor.name} of another type", tensors, _tensor(tensor.name, "BYTES", [1], b'["text"]'), JSON
        )
    if picture is not None:
        yield WrongRequest("no picture", tensors, b"this is a text", PNG)
        yield WrongRequest("half a picture", tensors, picture[: len(picture) // 2], PNG)
        yield WrongRequest("a giant picture", tensors, _giant_png(), PNG)


def _status(client: Client, wrong: WrongRequest) -> int:
    try:
        return client.request("POST", wrong.path, wrong.body, {"content-type": wrong.kind})[0]
    except (OSError, http.client.HTTPException):
        return 0


def _tensor(name: str, datatype: str, shape: list[int], data: bytes) -> bytes:
    head = f'{{"inputs": [{{"name": "{name}", "datatype": "{datatype}", "shape": {shape}, "data": '
    return head.encode() + data + b"}]}"


def _giant_png() -> bytes:
    """Return a few bytes that claim to be a picture of 60,000 pixels a side."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", GIANT_SIDE, GIANT_SIDE, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
