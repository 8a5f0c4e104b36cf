"""Which gRPC calls are read: those that bear the token and whose messages come; the others shut nobody out."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from sextant_serving.grpc_gate import CONCURRENT, headers_of
from sextant_serving.grpc_protocol import SERVICE, message
from sextant_serving.launch import Server, running_server

Code: Any = grpc.StatusCode
BEARER = (("authorization", "Bearer open-sesame"),)
SECONDS = 20.0  # for what takes a fraction of a second on an idle machine


@pytest.fixture
def hasty(bundle: Path, tmp_path: Path) -> Iterator[Server]:
    """A server with a token and short patience."""
    (tmp_path / "token").write_text("open-sesame\n")
    limits = ["--read-seconds", "1", "--idle-seconds", "1", "--token-file", str(tmp_path / "token")]
    log = tmp_path / "log"
    with running_server(bundle=bundle, grpc=True, token="open-sesame", arguments=limits, log=log) as running:
        yield running
    assert running.process.returncode == 0
    assert "Traceback" not in log.read_text()


def request() -> bytes:
    """Return a request that is answered."""
    asked = message("ModelInferRequest")(model_name="parcels")
    asked.inputs.add(name="image", datatype="UINT8", shape=[1, 8, 8, 1])
    asked.raw_input_contents.append(np.zeros((1, 8, 8, 1), np.uint8).tobytes())
    return bytes(asked.SerializeToString())


def silent(done: threading.Event) -> Iterator[bytes]:
    """Send nothing until the test is over."""
    done.wait()
    yield from ()


def answered(channel: grpc.Channel) -> bytes:
    """Ask until the server has room for a call."""
    infer = channel.unary_unary(f"/{SERVICE}/ModelInfer")
    give_up = time.monotonic() + SECONDS
    while True:
        try:
            answer: bytes = infer(request(), metadata=BEARER, timeout=SECONDS)
        except grpc.RpcError as error:
            if error.code() != Code.RESOURCE_EXHAUSTED or time.monotonic() > give_up:
                raise
        else:
            return answer


@pytest.mark.parametrize(
    ("method", "metadata"),
    [
        pytest.param("ModelInfer", None, id="without-a-token"),
        pytest.param("ModelInfer", BEARER, id="calls"),
        pytest.param("ModelStreamInfer", BEARER, id="streams"),
    ],
)
def test_calls_that_send_nothing_shut_nobody_out(hasty: Server, method: str, metadata: Any) -> None:
    """However many are opened, the server answers others soon after, by its time for a request at the latest."""
    done = threading.Event()
    with ExitStack() as stack:
        idle = stack.enter_context(grpc.insecure_channel(str(hasty.grpc)))
        other = stack.enter_context(grpc.insecure_channel(str(hasty.grpc)))
        stack.callback(done.set)
        opened = [
            idle.stream_stream(f"/{SERVICE}/{method}")(silent(done), metadata=metadata) for _ in range(CONCURRENT)
        ]
        ended = threading.Semaphore(0)
        for call in opened:
            call.add_done_callback(lambda _: ended.release())
        for _ in range(CONCURRENT // 4):  # some end by themselves, so they have all been sent
            assert ended.acquire(timeout=SECONDS)
        assert answered(other)
        code = Code.UNAUTHENTICATED if metadata is None else Code.DEADLINE_EXCEEDED
        assert code in {call.code() for call in opened if call.done()}


def test_a_stream_may_pause_and_is_ended_when_it_stays_silent(hasty: Server) -> None:
    """After an answer the time for the next message begins anew; then the call ends by its own fault."""
    done = threading.Event()

    def requests() -> Iterator[bytes]:
        yield request()
        yield request()
        yield from silent(done)

    with grpc.insecure_channel(str(hasty.grpc)) as channel:
        stream = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")(requests(), metadata=BEARER, timeout=SECONDS)
        assert next(stream)
        assert next(stream)
        with pytest.raises(grpc.RpcError) as ended:
            next(stream)
        done.set()
        assert ended.value.code() == Code.DEADLINE_EXCEEDED


def test_a_client_that_connects_and_says_nothing_is_left(hasty: Server) -> None:
    """A connection that does not become one of HTTP/2 in time is closed."""
    host, port = str(hasty.grpc).split(":")
    with socket.create_connection((host, int(port)), timeout=SECONDS) as raw:
        while raw.recv(65536):  # the server's own settings come first
            pass


def test_metadata_of_any_text_becomes_headers() -> None:
    """gRPC gives what it finds as text in UTF-8, where a header has bytes."""
    assert headers_of((("a", "é开"), ("b-bin", b"\x00"))) == {b"a": b"\xe9?", b"b-bin": b"\x00"}
    assert headers_of(None) == {}
