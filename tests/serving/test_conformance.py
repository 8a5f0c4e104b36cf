"""The clients of KServe and Triton talk to the server unchanged, in every datatype and encoding."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import descriptor_pb2

import sextant_serving.grpc_protocol as protocol
from sextant_serving.launch import Server, running_server

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

HERE = Path(__file__).parent
CLASSES = ("heavy", "light", "medium")
IMAGE = np.arange(64, dtype=np.uint8).reshape(1, 8, 8, 1)
TYPES = {
    "BOOL": np.bool_,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}


@pytest.fixture(scope="module")
def both(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on both ports with a model repository API; it must end with exit code 0."""
    token = tmp_path_factory.mktemp("token") / "token"
    token.write_text("administrator\n")
    with running_server(bundle=bundle, grpc=True, arguments=["--admin-token-file", str(token)]) as running:
        yield running
    assert running.process.returncode == 0


@pytest.fixture(scope="module")
def expected(both: Server) -> list[float]:
    """What our own client gets for the picture, weight 1 and zone south."""
    with both.client() as client:
        answer = client.infer_binary({"image": IMAGE, "weight": np.ones(1, np.float32), "zone": ["south"]})
    probabilities: list[float] = answer["probabilities"][0].tolist()
    return probabilities


@pytest.fixture(scope="module")
def triton(both: Server) -> dict[str, Any]:
    """What tritonclient saw."""
    command = [sys.executable, str(HERE / "triton_dialogue.py"), both.url, str(both.grpc), "administrator"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


@pytest.mark.parametrize(("how", "types"), [("json", 11), ("binary", 13), ("grpc", 13)])
def test_triton_clients_infer_in_every_datatype(
    triton: dict[str, Any], expected: list[float], how: str, types: int
) -> None:
    """The same row in each datatype has the same answer, with outputs as asked for and the id as sent."""
    assert len(triton[how]) == types
    for answer in triton[how].values():
        assert (answer["id"], answer["label"], answer["abstained"]) == ("mine", "medium", False)
        np.testing.assert_allclose(answer["probabilities"], expected, rtol=1e-6)


def test_triton_clients_manage_the_model(triton: dict[str, Any]) -> None:
    """Health, metadata, index, load and unload do what their names say, and only with the token."""
    assert triton["http"] == triton["rpc"] == [True, True, True, False, True]
    assert triton["metadata"] == ["parcels", "parcels"]
    assert triton["index"] == ["READY", "READY"]
    assert triton["refusals"] == [
        "401",
        "StatusCode.UNAUTHENTICATED",
        "StatusCode.NOT_FOUND",
        "StatusCode.NOT_FOUND",
    ]


def test_a_stream_goes_on_after_a_refused_request(triton: dict[str, Any]) -> None:
    """Answers come in the order of the requests, a refusal among them."""
    assert triton["stream"] == ["parcels", "error", "parcels"]


def kserve_request(datatype: str, *, binary: bool) -> Any:
    """Return KServe's request for the picture with weight 1 in a datatype."""
    from kserve import InferInput, InferRequest
    from kserve.protocol.infer_type import RequestedOutput

    image = InferInput("image", [1, 8, 8, 1], "UINT8")
    image.set_data_from_numpy(IMAGE, binary_data=binary)
    weight = InferInput("weight", [1], datatype)
    weight.set_data_from_numpy(np.ones(1, TYPES[datatype]), binary_data=binary)
    zone = InferInput("zone", [1], "BYTES")
    zone.set_data_from_numpy(np.array([b"south"], dtype=object), binary_data=binary)
    outputs = [RequestedOutput(name, {"binary_data": binary}) for name in ("probabilities", "label")]
    return InferRequest("parcels", [image, weight, zone], request_id="mine", request_outputs=outputs)


async def ask_over_grpc(address: str) -> dict[tuple[str, bool], Any]:
    """Ask with KServe's gRPC client in each datatype, with typed and with raw contents."""
    from kserve import InferenceGRPCClient

    client = InferenceGRPCClient(address, timeout=20)
    try:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("parcels")
        return {
            (datatype, binary): await client.infer(kserve_request(datatype, binary=binary), timeout=20)
            for binary in (False, True)
            for datatype in TYPES
            if binary or datatype != "FP16"  # it has no typed contents
        }
    finally:
        await client.close()


async def ask_over_rest(url: str) -> dict[tuple[str, bool], Any]:
    """Ask with KServe's REST client in each datatype, in JSON and in binary."""
    from kserve import InferenceRESTClient, RESTConfig

    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
    try:
        return {
            (datatype, binary): await client.infer(url, kserve_request(datatype, binary=binary), model_name="parcels")
            for binary in (False, True)
            for datatype in TYPES
            if binary or datatype != "FP16"  # the client itself refuses it in JSON
        }
    finally:
        await client.close()


async def look_over_rest(url: str, protocol: str) -> list[bool]:
    """Ask with KServe's REST client whether the server lives and its model is ready."""
    from kserve import InferenceRESTClient, RESTConfig

    async with InferenceRESTClient(RESTConfig(protocol=protocol, retries=0)) as client:
        live = await client.is_server_live(url)
        if protocol == "v2":
            live = live and await client.is_server_ready(url)
        return [live, await client.is_model_ready(url, "parcels")]


async def predict_over_rest(url: str) -> dict[str, Any]:
    """Ask with KServe's REST client of the v1 protocol."""
    from kserve import InferenceRESTClient, RESTConfig

    row = {"image": IMAGE[0].tolist(), "weight": 1.0, "zone": "south"}
    async with InferenceRESTClient(RESTConfig(protocol="v1", retries=0)) as client:
        answer: dict[str, Any] = await client.infer(url, {"instances": [row]}, model_name="parcels")
        return answer


@pytest.mark.parametrize("protocol", ["v1", "v2"])
def test_kserve_clients_see_the_health_of_server_and_model(both: Server, protocol: str) -> None:
    """In each protocol the server lives and its model is ready."""
    assert asyncio.run(look_over_rest(both.url, protocol)) == [True, True]


def test_kserve_clients_predict_by_the_v1_protocol(both: Server, expected: list[float]) -> None:
    """A row of v1 JSON has the answer that its tensors have."""
    (row,) = asyncio.run(predict_over_rest(both.url))["predictions"]
    assert row["label"] == "medium"
    np.testing.assert_allclose([row["probabilities"][name] for name in CLASSES], expected, rtol=1e-6)


@pytest.mark.parametrize("port", ["rest", "grpc"])
def test_kserve_clients_infer_in_every_datatype(both: Server, expected: list[float], port: str) -> None:
    """The same row in each datatype has the same answer, with the id as sent."""
    answers = asyncio.run(ask_over_rest(both.url) if port == "rest" else ask_over_grpc(str(both.grpc)))
    assert len(answers) == 2 * len(TYPES) - 1
    for response in answers.values():
        outputs = {output.name: output.as_numpy() for output in response.outputs}
        assert response.id == "mine"
        np.testing.assert_allclose(outputs["probabilities"][0], expected, rtol=1e-6)
        label = outputs["label"][0]
        assert (label.decode() if isinstance(label, bytes) else label) == "medium"


def test_the_vendored_description_is_the_proto(tmp_path: Path) -> None:
    """`inference.binpb` is what protoc makes of `inference.proto`; run the command below to write it anew."""
    folder = Path(str(protocol.__file__)).parent
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", str(folder)]
    subprocess.run([*command, f"--descriptor_set_out={tmp_path / 'binpb'}", "inference.proto"], check=True)
    assert (folder / "inference.binpb").read_bytes() == (tmp_path / "binpb").read_bytes()


def test_every_field_has_the_number_of_the_clients_own_proto() -> None:
    """A message or field that KServe's proto shares with ours has the same number, type and label."""
    from kserve.protocol.grpc import grpc_predict_v2_pb2

    theirs = descriptor_pb2.FileDescriptorProto()
    grpc_predict_v2_pb2.DESCRIPTOR.CopyToProto(theirs)
    ours = descriptor_pb2.FileDescriptorSet.FromString(
        (Path(str(protocol.__file__)).parent / "inference.binpb").read_bytes()
    ).file[0]
    own = dict(fields_of(ours.message_type))
    repository = ("RepositoryModelLoad", "RepositoryModelUnload")  # KServe numbers these in its own way
    shared = [(key, shape) for key, shape in fields_of(theirs.message_type) if not key.startswith(repository)]
    assert len(shared) > 60
    assert [(key, own.get(key)) for key, _ in shared] == shared


def fields_of(messages: Any, prefix: str = "") -> Iterator[tuple[str, tuple[int, int, int, str]]]:
    """Yield each field's path, and its number, type, label and message type."""
    for one in messages:
        for field in one.field:
            yield f"{prefix}{one.name}.{field.name}", (field.number, field.type, field.label, field.type_name)
        yield from fields_of(one.nested_type, f"{prefix}{one.name}.")
