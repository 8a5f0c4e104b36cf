"""The server's log tells what failed and where, and never what a client sent."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import pytest

from sextant_plan.bundle import read_bundle, seal_bundle
from sextant_serving.grpc_protocol import SERVICE, message
from sextant_serving.launch import Server, running_server

MakeBundle = Callable[..., Path]

SECRET = 7654321  # exact in FP32
REFUSAL = "internal error; the server's log has it."


@pytest.fixture(scope="module")
def choosy(make_bundle: MakeBundle) -> Path:
    """A bundle whose network looks its features up in a table of ten, so that a large one is an error of the engine."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    directory = make_bundle()
    spec = read_bundle(directory)
    model = onnx.load(directory / "model.onnx")
    graph = model.graph
    next(node for node in graph.node if list(node.output) == ["logits"]).output[0] = "found"
    for node in (
        helper.make_node("Cast", ["features"], ["places"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "places"], ["nothings"]),
        helper.make_node("ReduceSum", ["nothings", "axis"], ["none"], keepdims=1),
        helper.make_node("Add", ["found", "none"], ["logits"]),
    ):
        graph.node.insert(len(graph.node) - 1, node)
    graph.initializer.append(numpy_helper.from_array(np.zeros(10, np.float32), "table"))
    onnx.checker.check_model(model)
    (directory / "model.onnx").write_bytes(model.SerializeToString())
    seal_bundle(directory, spec)
    return directory


def fail_by_v1(server: Server) -> str:
    """Make the engine fail; returns what the client is told."""
    row = {"image": [[[9]] * 8] * 8, "weight": SECRET, "zone": "north"}
    with server.client() as client:
        sent = json.dumps({"instances": [row]}).encode()
        status, _, body = client.request("POST", "/v1/models/parcels:predict", sent)
    assert status == 500
    return str(json.loads(body)["error"])


def failing_call() -> bytes:
    """Return a gRPC request that makes the engine fail."""
    request = message("ModelInferRequest")(model_name="parcels")
    request.inputs.add(name="image", datatype="UINT8", shape=[1, 8, 8, 1])
    request.inputs.add(name="weight", datatype="FP32", shape=[1])
    request.raw_input_contents.extend([bytes(64), np.float32(SECRET).tobytes()])
    sent: bytes = request.SerializeToString()
    return sent


def fail_by_grpc(server: Server) -> str:
    """Make the engine fail; returns what the client is told."""
    with grpc.insecure_channel(str(server.grpc)) as channel, pytest.raises(grpc.RpcError) as ended:
        channel.unary_unary(f"/{SERVICE}/ModelInfer")(failing_call(), timeout=30)
    assert ended.value.code() == grpc.StatusCode.INTERNAL
    return str(ended.value.details())


def fail_by_stream(server: Server) -> str:
    """Make the engine fail; returns what the client is told."""
    answered = message("ModelStreamInferResponse").FromString
    with grpc.insecure_channel(str(server.grpc)) as channel:
        ask = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer", None, answered)
        (answer,) = ask(iter([failing_call()]), timeout=30)
    return str(answer.error_message)


@pytest.mark.parametrize("fail", [fail_by_v1, fail_by_grpc, fail_by_stream])
def test_an_engines_error_is_logged_without_the_input_that_it_quotes(
    choosy: Path, tmp_path: Path, fail: Callable[[Server], str]
) -> None:
    """The log has the error's class and frames; neither it nor the client gets its words, which quote a number sent."""
    with running_server(bundle=choosy, grpc=True, log=tmp_path / "log") as server:
        assert fail(server) == REFUSAL
    log = (tmp_path / "log").read_text()
    assert "InvalidArgument at " in log
    assert "engines.py" in log
    assert str(SECRET) not in log
