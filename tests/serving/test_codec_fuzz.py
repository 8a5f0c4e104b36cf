"""Whatever a client sends, the server blames the client and stays well."""

from __future__ import annotations

import copy
import json
import socket
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sextant_serving.client import Client
from sextant_serving.launch import Server

FUZZ = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    database=None,
)

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["instances", "inputs", "outputs", "name", "shape", "datatype", "data", "image", "b64"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
PATHS = st.sampled_from(["/v1/models/parcels:predict", "/v2/models/parcels/infer", "/feedback"])
VALID: dict[str, Any] = {
    "id": "a",
    "parameters": {"binary_data_output": False},
    "inputs": [
        {"name": "image", "datatype": "UINT8", "shape": [1, 8, 8, 1], "data": [9] * 64},
        {"name": "weight", "datatype": "FP32", "shape": [1], "data": [1.5]},
        {"name": "zone", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 9}},
    ],
    "outputs": [{"name": "label", "parameters": {"binary_data": True}}],
}
ZONE = b"\x05\x00\x00\x00south"


def post(client: Client, path: str, body: bytes, headers: dict[str, str] | None = None) -> int:
    """Send a body; the answer must be JSON unless it is binary."""
    status, received, answer = client.request("POST", path, body, headers)
    length = int(received.get("inference-header-content-length", len(answer)))
    json.loads(answer[:length])
    return status


@FUZZ
@given(path=PATHS, document=JSON)
def test_any_json_is_answered_below_500(client: Client, path: str, document: Any) -> None:
    """JSON of any shape is an answer or a client error."""
    assert post(client, path, json.dumps(document).encode()) < 500


@FUZZ
@given(path=PATHS, body=st.binary(max_size=200), length=st.integers(-3, 300) | st.text("0123456789x", max_size=20))
def test_any_bytes_are_answered_below_500(client: Client, path: str, body: bytes, length: int | str) -> None:
    """Bytes of any kind, with any claimed length of the JSON, are a client error."""
    assert 400 <= post(client, path, body, {"inference-header-content-length": str(length)}) < 500


@FUZZ
@given(body=st.binary(max_size=200), kind=st.sampled_from(["image/png", "image/jpeg"]), png=st.booleans())
def test_any_picture_is_answered_below_500(client: Client, body: bytes, kind: str, *, png: bool) -> None:
    """Bytes sent as a picture are a client error unless they are one."""
    body = b"\x89PNG\r\n\x1a\n" + body if png else body
    assert post(client, "/v2/models/parcels/infer?weight=1", body, {"content-type": kind}) == 400


@FUZZ
@given(data=st.data())
def test_a_nearly_valid_request_is_answered_below_500(client: Client, data: st.DataObject) -> None:
    """A request with one part replaced or removed is an answer or a client error."""
    document = copy.deepcopy(VALID)
    place: Any = document
    while True:
        keys = list(place.keys()) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    if data.draw(st.booleans()):
        place[key] = data.draw(SCALARS | JSON)
    else:
        del place[key]
    head = json.dumps(document).encode()
    headers = {"inference-header-content-length": str(len(head))}
    assert post(client, "/v2/models/parcels/infer", head + ZONE, headers) < 500


def test_the_request_that_the_fuzz_starts_from_is_valid(client: Client) -> None:
    """Otherwise the mutations would prove nothing."""
    head = json.dumps(VALID).encode()
    headers = {"inference-header-content-length": str(len(head))}
    assert post(client, "/v2/models/parcels/infer", head + ZONE, headers) == 200


@settings(FUZZ, max_examples=60)
@given(
    data=st.binary(max_size=300),
    start=st.sampled_from([b"", b"POST / HTTP/1.1\r\nhost: x\r\n", b"GET /v2 HTTP/1.1\r\nh:"]),
)
def test_any_bytes_on_the_wire_leave_the_server_well(server: Server, client: Client, data: bytes, start: bytes) -> None:
    """A client that does not speak HTTP harms nobody else."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as raw:
        raw.sendall(start + data)
    assert client.request("GET", "/v2/health/live")[0] == 200


def test_numbers_beyond_the_types_are_refused(client: Client) -> None:
    """What FP32 or UINT8 cannot hold is a client error, or missing where columns allow it."""
    image = np.zeros((1, 8, 8, 1), np.uint8)
    assert client.infer_binary({"image": image, "weight": np.array([1e300]), "zone": ["north"]})["label"]
    for name, datatype, value in [("image", "UINT8", 256), ("image", "UINT8", -1), ("features", "FP64", 1e300)]:
        shape = [1, 8, 8, 1] if name == "image" else [1, 2]
        tensors = [
            {"name": name, "datatype": datatype, "shape": shape, "data": [value] * (64 if name == "image" else 2)}
        ]
        assert post(client, "/v2/models/parcels/infer", json.dumps({"inputs": tensors}).encode()) == 400
