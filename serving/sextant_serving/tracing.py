"""OpenTelemetry traces: a span for each inference request, and below it queue, features and device.

The parent comes from the W3C `traceparent` header or metadata. What OpenTelemetry's environment variables say
(service name, sampler, headers of the exporter) holds here too.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from sextant_serving.errors import TracingMissing
from sextant_serving.http_types import Handler, Request, Response
from sextant_serving.routes import Route
from sextant_serving.rows import Times

ENVIRONMENT = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

GrpcMethod = Callable[[Any, dict[bytes, bytes], str], Awaitable[Any]]

# One reading of both clocks serves every span of a request: read again for the stages, a pause between the two readings
# or a step of the wall clock would put a stage before the request it belongs to.
_wall_less_monotonic: ContextVar[int] = ContextVar("wall_less_monotonic")


class Tracing:
    """Makes spans and sends them by OTLP over HTTP, in batches, from a thread of its own."""

    def __init__(self, endpoint: str | None) -> None:
        """Set up the exporter for `endpoint`, or for the environment's. Raises TracingMissing."""
        try:
            from opentelemetry import trace
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import SERVICE_NAME, Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError as error:
            raise TracingMissing from error
        # Its warnings quote the headers that a client sent, control characters included.
        logging.getLogger("opentelemetry.trace").setLevel(logging.ERROR)
        exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces" if endpoint else None)
        name = os.environ.get("OTEL_SERVICE_NAME", "sextant")
        self._provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}))
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("sextant_serving")
        self._propagator = TraceContextTextMapPropagator()
        self._kind, self._status = trace.SpanKind.SERVER, trace.StatusCode.ERROR

    @contextmanager
    def _request(self, name: str, headers: Mapping[bytes, bytes], attributes: dict[str, str]) -> Iterator[Any]:
        carrier = {
            key: headers[key.encode()].decode("latin-1")
            for key in ("traceparent", "tracestate")
            if key.encode() in headers
        }
        offset = time.time_ns() - time.monotonic_ns()
        anchor = _wall_less_monotonic.set(offset)
        with self._tracer.start_as_current_span(
            name,
            start_time=offset + time.monotonic_ns(),
            end_on_exit=False,
            context=self._propagator.extract(carrier),
            kind=self._kind,
            attributes=attributes,
            record_exception=False,  # its words may quote the request
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            finally:
                span.end(offset + time.monotonic_ns())
                _wall_less_monotonic.reset(anchor)

    def traced(self, handle: Handler, resolve: Callable[[bytes], Route | None]) -> Handler:
        """Return `handle` with a span around each POST; probes and scrapes are left out."""

        async def traced_handle(request: Request) -> Response:
            if request.method != b"POST":
                return await handle(request)
            with self._request(_name(request, resolve), request.headers, {"http.request.method": "POST"}) as span:
                response = await handle(request)
                span.set_attribute("http.response.status_code", response.status)
                if response.status >= 500:
                    span.set_status(self._status)
                return response

        return traced_handle

    def traced_call(self, name: str, method: GrpcMethod) -> GrpcMethod:
        """Return a gRPC method with a span around each call."""

        async def traced_method(request: Any, metadata: dict[bytes, bytes], peer: str) -> Any:
            with self._request(name, metadata, {"rpc.system": "grpc", "rpc.method": name}) as span:
                try:
                    return await method(request, metadata, peer)
                except Exception:
                    span.set_status(self._status)
                    raise

        return traced_method

    def add_stages(self, times: Times) -> None:
        """Add the spans of what has happened to a request since it was queued, below the current span."""
        since = _wall_less_monotonic.get()
        stages = [("queue", times.queued, times.taken), ("device", times.device_began, times.device_ended)]
        if times.features_found is not None:
            stages.insert(1, ("features", times.taken, times.features_found))
        for name, begun, ended in stages:
            span = self._tracer.start_span(name, start_time=since + int(begun * 1e9))
            span.end(since + int(ended * 1e9))

    def close(self) -> None:
        """Send what has not been sent; blocks for at most a few seconds."""
        self._provider.shutdown()


def _name(request: Request, resolve: Callable[[bytes], Route | None]) -> str:
    """Return the span's name: what the path means, never the path, which a client may choose at will."""
    try:
        route = resolve(request.target.partition(b"?")[0])
    except Exception:  # the application will refuse it
        return "POST"
    return f"POST {route.action}" if route else "POST"


def start_tracing(endpoint: str | None) -> Tracing | None:
    """Return the tracing that the option or OpenTelemetry's environment asks for. Raises TracingMissing."""
    if endpoint is None and not any(os.environ.get(name) for name in ENVIRONMENT):
        return None
    return Tracing(endpoint)
