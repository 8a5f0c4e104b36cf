"""gRPC: the same answers, refusals and limits as over HTTP, and a drain that loses nothing."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sextant_plan.catalogue import KSERVE
from sextant_serving.client import Tensor
from sextant_serving.codec_grpc import CONTENTS
from sextant_serving.grpc_protocol import SERVICE, message, service
from sextant_serving.launch import Server, running_server
from sextant_serving.tensors import RAW_DTYPES

MakeBundle = Callable[..., Path]
Code: Any = grpc.StatusCode

IMAGE = np.arange(64, dtype=np.uint8)
BLAME_THE_CLIENT = {Code.INVALID_ARGUMENT, Code.NOT_FOUND}


@pytest.fixture(scope="module")
def ported(bundle: Path) -> Iterator[Server]:
    """A server with a gRPC port that takes small messages; it must end with exit code 0."""
    with running_server(bundle=bundle, grpc=True, arguments=["--max-body-bytes", "20000"]) as running:
        yield running
    assert running.process.returncode == 0


@pytest.fixture(scope="module")
def channel(ported: Server) -> Iterator[grpc.Channel]:
    """A connection to it."""
    with grpc.insecure_channel(str(ported.grpc)) as connection:
        yield connection


def call(channel: grpc.Channel, name: str, request: Any = None, *, timeout: float = 30) -> Any:
    """Call a method with a message, or with bytes in its place; returns the response."""
    method = next(method for method in service.methods if method.name == name)
    sent = message(method.input_type.name)() if request is None else request
    answered = message(method.output_type.name)
    raw = sent if isinstance(sent, bytes) else sent.SerializeToString()
    return channel.unary_unary(f"/{SERVICE}/{name}", None, answered.FromString)(raw, timeout=timeout)


def code_of(channel: grpc.Channel, request: Any) -> tuple[Any, str]:
    """Return the status of an inference call and its words."""
    try:
        call(channel, "ModelInfer", request)
    except grpc.RpcError as error:
        return error.code(), error.details()
    return Code.OK, ""


def typed(*, rows: int = 1) -> Any:
    """Return a request with typed contents."""
    request = message("ModelInferRequest")(model_name="parcels", id="mine")
    image = request.inputs.add(name="image", datatype="UINT8", shape=[rows, 8, 8, 1])
    image.contents.uint_contents.extend(IMAGE.tolist() * rows)
    weight = request.inputs.add(name="weight", datatype="FP32", shape=[rows])
    weight.contents.fp32_contents.extend([1.5] * rows)
    zone = request.inputs.add(name="zone", datatype="BYTES", shape=[rows])
    zone.contents.bytes_contents.extend([b"south"] * rows)
    return request


def raw() -> Any:
    """Return the same request with raw contents."""
    request = typed()
    for tensor in request.inputs:
        tensor.ClearField("contents")
    contents = [IMAGE.tobytes(), np.float32(1.5).tobytes(), b"\x05\x00\x00\x00south"]
    request.raw_input_contents.extend(contents)
    return request


def test_typed_and_raw_contents_answer_alike_and_in_kind(ported: Server, channel: grpc.Channel) -> None:
    """Each encoding comes back as it was sent, with the numbers that HTTP gives, and feedback knows the id."""
    with ported.client() as client:
        weight = np.array([1.5], np.float32)
        tensors: dict[str, Tensor] = {"image": IMAGE.reshape(1, 8, 8, 1), "weight": weight, "zone": ["south"]}
        expected = client.infer_binary(tensors)
        from_typed, from_raw = call(channel, "ModelInfer", typed()), call(channel, "ModelInfer", raw())
        identifier = from_raw.parameters["prediction_id"].string_param
        assert client.send_feedback(identifier, expected["label"][0]) == "agree"
    probabilities, label = from_typed.outputs
    np.testing.assert_allclose(probabilities.contents.fp32_contents, expected["probabilities"][0], rtol=1e-6)
    assert [text.decode() for text in label.contents.bytes_contents] == expected["label"]
    assert not from_typed.raw_output_contents
    np.testing.assert_allclose(np.frombuffer(from_raw.raw_output_contents[0], "<f4"), expected["probabilities"][0])
    assert (from_raw.model_version, from_raw.id) == ("3", "mine")


def test_times_are_finer_than_the_loops_clock(ported: Server, channel: grpc.Channel) -> None:
    """A call is not recorded as 0 or as whole milliseconds, which is all that uvloop's clock tells."""

    before = recorded(ported, "sextant_request_seconds_sum")
    call(channel, "ModelInfer", raw())
    milliseconds = 1000 * (recorded(ported, "sextant_request_seconds_sum") - before)
    assert milliseconds > 0
    assert abs(milliseconds - round(milliseconds)) > 1e-6


@pytest.mark.parametrize("stage", KSERVE)
def test_the_stages_of_a_call_are_counted(ported: Server, channel: grpc.Channel, stage: str) -> None:
    """Each counts an answered call once."""
    before = recorded(ported, f"{stage}_count")
    call(channel, "ModelInfer", raw())
    assert recorded(ported, f"{stage}_count") == before + 1


def recorded(server: Server, series: str) -> float:
    """Return the value of a series that is on the metrics page once."""
    with server.client() as client:
        lines = client.metrics_text().splitlines()
    (line,) = (line for line in lines if line.startswith(series + "{"))
    return float(line.split()[-1])


def test_a_key_longer_than_any_store_takes_is_refused(make_bundle: MakeBundle) -> None:
    """1,024 characters are taken, one more is the client's fault, as over HTTP."""
    with (
        running_server(bundle=make_bundle(entity="parcel_id"), grpc=True) as server,
        grpc.insecure_channel(str(server.grpc)) as channel,
    ):
        for length, expected in ((1024, Code.OK), (1025, Code.INVALID_ARGUMENT)):
            request = typed()
            key = request.inputs.add(name="parcel_id", datatype="BYTES", shape=[1])
            key.contents.bytes_contents.append(b"k" * length)
            code, words = code_of(channel, request)
            assert (code, "parcel_id: too long a key" in words) == (expected, expected != Code.OK)


def test_metadata_and_health_are_those_of_http(channel: grpc.Channel) -> None:
    """Names, shapes and readiness agree with the REST paths."""
    assert call(channel, "ServerLive").live
    assert call(channel, "ServerReady").ready
    assert call(channel, "ServerMetadata").name == "sextant"
    described = call(channel, "ModelMetadata", message("ModelMetadataRequest")(name="parcels", version="3"))
    assert [(one.name, one.datatype, list(one.shape)) for one in described.inputs] == [
        ("image", "UINT8", [-1, 8, 8, 1]),
        ("weight", "FP32", [-1]),
        ("zone", "BYTES", [-1]),
    ]


def change(**fields: Any) -> Callable[[Any], None]:
    """Return what sets fields of a request's first input."""

    def apply(request: Any) -> None:
        for name, value in fields.items():
            if name == "shape":
                del request.inputs[0].shape[:]
                request.inputs[0].shape.extend(value)
            else:
                setattr(request.inputs[0], name, value)

    return apply


@pytest.mark.parametrize(
    ("base", "spoil", "code", "words"),
    [
        pytest.param(raw, lambda r: r.raw_input_contents.pop(), Code.INVALID_ARGUMENT, "raw_input", id="raw-missing"),
        pytest.param(raw, lambda r: r.inputs[0].contents.SetInParent(), Code.INVALID_ARGUMENT, "beside", id="both"),
        pytest.param(typed, change(shape=[1, 9, 8, 1]), Code.INVALID_ARGUMENT, "inputs[0].contents", id="count"),
        pytest.param(typed, change(shape=[0, 8]), Code.INVALID_ARGUMENT, "inputs[0].shape", id="zero"),
        pytest.param(typed, change(datatype="SECRET"), Code.INVALID_ARGUMENT, "inputs[0].datatype", id="datatype"),
        pytest.param(typed, change(datatype="FP16"), Code.INVALID_ARGUMENT, "raw_input_contents", id="typed-fp16"),
        pytest.param(typed, change(name="SECRET"), Code.INVALID_ARGUMENT, "inputs[0].name", id="unknown-input"),
        pytest.param(typed, change(name="zone"), Code.INVALID_ARGUMENT, "a name twice", id="input-twice"),
        pytest.param(typed, lambda r: r.ClearField("inputs"), Code.INVALID_ARGUMENT, "inputs", id="no-inputs"),
        pytest.param(typed, lambda r: r.outputs.add(name="SECRET"), Code.INVALID_ARGUMENT, "outputs[0]", id="output"),
        pytest.param(typed, lambda r: setattr(r, "model_name", "SECRET"), Code.NOT_FOUND, "no such", id="model"),
        pytest.param(typed, lambda r: setattr(r, "model_version", "9"), Code.NOT_FOUND, "version 3", id="version"),
        pytest.param(typed, lambda r: r.CopyFrom(typed(rows=65)), Code.INVALID_ARGUMENT, "64 rows", id="rows"),
        pytest.param(typed, lambda r: setattr(r, "id", "x" * 20001), Code.RESOURCE_EXHAUSTED, "larger", id="message"),
    ],
)
def test_a_bad_call_is_told_where_and_never_what(
    channel: grpc.Channel, base: Callable[[], Any], spoil: Callable[[Any], None], code: Any, words: str
) -> None:
    """Each fault has its own code and names the field; nothing of the payload comes back."""
    request = base()
    spoil(request)
    found, details = code_of(channel, request)
    assert found == code
    assert words in details
    assert "SECRET" not in details


def test_each_typed_list_takes_the_limits_of_its_datatype(channel: grpc.Channel) -> None:
    """The largest value of every integer type passes, and one beyond a narrow type is refused."""
    for datatype in set(CONTENTS) - {"BYTES", "BOOL", "FP32", "FP64"}:
        dtype = RAW_DTYPES[datatype]
        request = typed()
        request.inputs[1].ClearField("contents")
        request.inputs[1].datatype = datatype
        values = getattr(request.inputs[1].contents, CONTENTS[datatype])
        values.append(int(np.iinfo(dtype).max))
        assert code_of(channel, request)[0] == Code.OK
        if dtype.itemsize < 4:
            values[0] += 1
            assert code_of(channel, request)[0] == Code.INVALID_ARGUMENT


@settings(max_examples=150, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_call_is_blamed_on_the_client(channel: grpc.Channel, data: st.DataObject) -> None:
    """Requests of random parts, or with a part of random bytes, never meet an internal error."""
    request = raw() if data.draw(st.booleans()) else typed()
    for tensor in request.inputs:
        if data.draw(st.booleans()):
            tensor.datatype = data.draw(st.sampled_from([*RAW_DTYPES, "BYTES", "", "FP8"]))
        if data.draw(st.booleans()):
            del tensor.shape[:]
            tensor.shape.extend(data.draw(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 9), max_size=40)))
        if data.draw(st.booleans()):
            tensor.contents.fp64_contents.extend(data.draw(st.lists(st.floats(), max_size=3)))
    if data.draw(st.booleans()):
        request.raw_input_contents[:] = data.draw(st.lists(st.binary(max_size=70), max_size=4))
    code, _ = code_of(channel, request)
    assert code in BLAME_THE_CLIENT | {Code.OK}


@settings(max_examples=60, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent=st.binary(max_size=60), streamed=st.booleans())
@example(sent=b"\xff" * 50, streamed=False)
@example(sent=b"\xff" * 50, streamed=True)
def test_bytes_that_are_no_message_are_blamed_on_the_client(channel: grpc.Channel, sent: bytes, streamed: bool) -> None:
    """They end that call alone, and of a stream not even that."""
    if streamed:
        answered = message("ModelStreamInferResponse").FromString
        ask = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer", None, answered)
        refused, served = list(ask(iter([sent, raw().SerializeToString()]), timeout=30))
        assert refused.error_message
        assert not served.error_message
    else:
        assert code_of(channel, sent)[0] in BLAME_THE_CLIENT
        assert code_of(channel, raw())[0] == Code.OK


def test_a_full_queue_says_when_to_come_back(make_bundle: MakeBundle) -> None:
    """What the queue does not hold is refused, with the milliseconds that a client is to wait."""
    bundle = make_bundle(slow=150, serving={"max_rows": 1, "queue_rows": 1, "deadline": 30.0})
    with running_server(bundle=bundle, grpc=True) as server, grpc.insecure_channel(str(server.grpc)) as channel:
        infer = channel.unary_unary(f"/{SERVICE}/ModelInfer")
        sent = [infer.future(raw().SerializeToString(), timeout=30) for _ in range(8)]
        refused = [error for one in sent if (error := one.exception()) is not None]
    assert 0 < len(refused) < len(sent)
    for error in refused:
        assert error.code() == Code.RESOURCE_EXHAUSTED
        waits = [value for name, value in error.trailing_metadata() if name == "grpc-retry-pushback-ms"]
        assert [int(wait) >= 1000 for wait in waits] == [True]


def test_the_clients_deadline_ends_a_call(make_bundle: MakeBundle) -> None:
    """A call that waits longer than its client allows ends, and the server serves the next."""
    bundle = make_bundle(slow=150, serving={"max_rows": 1, "queue_rows": 2, "deadline": 30.0})
    with running_server(bundle=bundle, grpc=True) as server, grpc.insecure_channel(str(server.grpc)) as channel:
        waiting = [threading.Thread(target=code_of, args=(channel, raw())) for _ in range(2)]
        for thread in waiting:
            thread.start()
        begun = time.monotonic()
        with pytest.raises(grpc.RpcError) as ended:
            call(channel, "ModelInfer", raw(), timeout=0.001)
        assert ended.value.code() == Code.DEADLINE_EXCEEDED
        assert time.monotonic() - begun < 5
        for thread in waiting:
            thread.join()
        assert code_of(channel, raw())[0] == Code.OK


def test_clients_that_follow_readiness_never_see_a_stop(make_bundle: MakeBundle) -> None:
    """Between not ready and the end of the linger every call of the load is answered; the exit code is 0."""
    found: list[Any] = []
    leave, answered = threading.Event(), threading.Semaphore(0)
    with running_server(bundle=make_bundle(slow=20), grpc=True, arguments=["--linger-seconds", "600"]) as server:

        def ask_until_routes_move() -> None:
            with grpc.insecure_channel(str(server.grpc)) as channel:
                while not leave.is_set():
                    found.append(code_of(channel, raw())[0])
                    answered.release()

        threads = [threading.Thread(target=ask_until_routes_move) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(20):
            answered.acquire()
        server.process.send_signal(signal.SIGTERM)
        with grpc.insecure_channel(str(server.grpc)) as probe:
            while call(probe, "ServerReady").ready:
                pass
        for _ in range(20):  # routes take their time to move; meanwhile the server goes on answering
            answered.acquire()
        leave.set()
        for thread in threads:
            thread.join()
        server.process.send_signal(signal.SIGTERM)  # a second one ends the linger
        assert server.process.wait(30) == 0
    assert set(found) == {Code.OK}


def test_a_call_under_way_is_answered_after_sigterm(make_bundle: MakeBundle) -> None:
    """The drain waits for what has begun."""
    found: list[Any] = []
    with running_server(bundle=make_bundle(slow=300, serving={"deadline": 60.0}), grpc=True) as server:
        with grpc.insecure_channel(str(server.grpc)) as channel, server.client() as probe:
            asking = threading.Thread(target=lambda: found.append(code_of(channel, raw())[0]))
            asking.start()
            while not re.search(r"sextant_queue_wait_seconds_count\{.*\} 1\.0", probe.metrics_text()):
                assert asking.is_alive()  # the call is taken from the queue, and not yet answered
            server.process.send_signal(signal.SIGTERM)
            asking.join()
        assert server.process.wait(20) == 0
    assert found == [Code.OK]
