"""Traces: what a collector receives over OTLP, and what is told when OpenTelemetry is not installed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from sextant_serving.grpc_protocol import SERVICE, message
from sextant_serving.launch import ServerDidNotStart, running_server

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
IMAGE = np.zeros((1, 8, 8, 1), np.uint8)


class Collector(ThreadingHTTPServer):
    """An OTLP receiver that keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receive)
        self.bodies: list[tuple[str, bytes]] = []


class Receive(BaseHTTPRequestHandler):
    """Takes one export."""

    server: Collector

    def do_POST(self) -> None:
        """Keep the body."""
        self.server.bodies.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector on a free port."""
    with Collector() as receiver:
        thread = threading.Thread(target=receiver.serve_forever)
        thread.start()
        yield receiver
        receiver.shutdown()
        thread.join()


def spans_of(collector: Collector) -> dict[str, list[Any]]:
    """Return the received spans by name."""
    import gzip

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    found: dict[str, list[Any]] = {}
    for _, body in collector.bodies:
        plain = gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body
        for resource in ExportTraceServiceRequest.FromString(plain).resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    found.setdefault(span.name, []).append(span)
    return found


@pytest.mark.parametrize("by_environment", [False, True], ids=["option", "environment"])
def test_a_request_is_traced_with_its_stages(
    bundle: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch, *, by_environment: bool
) -> None:
    """One span below the caller's, the queue and the device below it, in order, and nothing of the payload."""
    endpoint = f"http://127.0.0.1:{collector.server_port}"
    if by_environment:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    arguments = [] if by_environment else ["--otlp-endpoint", endpoint]
    with running_server(bundle=bundle, arguments=arguments) as server, server.client() as client:
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "content-type": "image/png"}
        assert client.request("POST", "/v2/models/parcels/infer?weight=SECRET", b"SECRET", headers)[0] == 400
        assert client.infer_binary({"image": IMAGE})["label"]
        assert client.ready()
    spans = spans_of(collector)
    assert {path for path, _ in collector.bodies} == {"/v1/traces"}
    assert {name: len(found) for name, found in spans.items()} == {"POST infer": 2, "queue": 1, "device": 1}
    refused, answered = spans["POST infer"]
    assert (refused.trace_id.hex(), refused.parent_span_id.hex()) == (TRACE, PARENT)
    queue, device = spans["queue"][0], spans["device"][0]
    assert queue.parent_span_id == device.parent_span_id == answered.span_id
    assert answered.start_time_unix_nano <= queue.start_time_unix_nano <= queue.end_time_unix_nano
    assert device.start_time_unix_nano <= device.end_time_unix_nano <= answered.end_time_unix_nano
    assert not any(b"SECRET" in span.SerializeToString() for found in spans.values() for span in found)


def test_a_grpc_call_is_traced_with_its_stages(bundle: Path, collector: Collector) -> None:
    """Calls and a stream's requests are spans below the caller's, a refused one is an error, and no payload is told."""
    request = message("ModelInferRequest")(model_name="parcels")
    request.inputs.add(name="image", datatype="UINT8", shape=[1, 8, 8, 1])
    request.raw_input_contents.append(IMAGE.tobytes())
    spoilt = message("ModelInferRequest")(model_name="SECRET").SerializeToString()
    sent, metadata = request.SerializeToString(), [("traceparent", f"00-{TRACE}-{PARENT}-01")]
    arguments = ["--otlp-endpoint", f"http://127.0.0.1:{collector.server_port}"]
    with (
        running_server(bundle=bundle, grpc=True, arguments=arguments) as server,
        grpc.insecure_channel(str(server.grpc)) as channel,
    ):
        infer = channel.unary_unary(f"/{SERVICE}/ModelInfer")
        infer(sent, metadata=metadata, timeout=30)
        with pytest.raises(grpc.RpcError, match="no such model"):
            infer(spoilt, metadata=metadata, timeout=30)
        stream = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")
        assert len(list(stream(iter([sent]), metadata=metadata, timeout=30))) == 1
        channel.unary_unary(f"/{SERVICE}/ServerReady")(b"", timeout=30)
    spans = spans_of(collector)
    assert {name: len(found) for name, found in spans.items()} == {"ModelInfer": 3, "queue": 2, "device": 2}
    called = spans["ModelInfer"]
    assert {(span.trace_id.hex(), span.parent_span_id.hex()) for span in called} == {(TRACE, PARENT)}
    assert [span.status.code for span in called] == [0, 2, 0]
    for stage in ("queue", "device"):
        assert [span.parent_span_id for span in spans[stage]] == [called[0].span_id, called[2].span_id]
    assert not any(b"SECRET" in span.SerializeToString() for found in spans.values() for span in found)


def test_what_a_client_calls_its_trace_is_not_logged(bundle: Path, collector: Collector, tmp_path: Path) -> None:
    """A state that breaks the rules of the header is passed over in silence."""
    log = tmp_path / "server.log"
    arguments = ["--otlp-endpoint", f"http://127.0.0.1:{collector.server_port}"]
    with running_server(bundle=bundle, log=log, arguments=arguments) as server, server.client() as client:
        for state in ("password=SECRET one two\x9b31m", "SECRET", "a=SECRET,a=SECRET", "SECRET=1," * 40):
            headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": state}
            assert client.request("POST", "/v2/models/parcels/infer", b"{}", headers)[0] == 400
    assert b"serving parcels" in log.read_bytes()
    assert b"SECRET" not in log.read_bytes()


def test_without_the_extra_the_server_says_what_to_install(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wish for traces that cannot be met is an error with a remedy, not silence."""
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").write_text("raise ImportError\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ServerDidNotStart, match=r"sextant-mlops\[tracing\]") as failure:
        running_server(bundle=bundle, arguments=["--otlp-endpoint", "http://127.0.0.1:1"]).__enter__()
    assert failure.value.returned == 4
