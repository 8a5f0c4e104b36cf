"""Which gRPC calls are read at all: those that bear the token, and whose messages come in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc

from sextant_serving.access import Access
from sextant_serving.errors import BadRequest, RequestError, SlowClient
from sextant_serving.grpc_protocol import SERVICE
from sextant_serving.http_types import Limits

CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.FAILED_PRECONDITION,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
CONCURRENT = 1024  # calls that are open at once; the queue's limit is far below
# A call above this many gets a handler that limits the time until its message is there. gRPC's own handler for one
# message has no such limit, so that calls that send none would shut out all others; but it is 40 us faster.
UNTIMED = CONCURRENT // 2
RETRY = "grpc-retry-pushback-ms"
OPEN_CALLS = ("ServerLive", "ServerReady")


class Gate(grpc.GenericRpcHandler):  # type: ignore[misc] # the stubs of grpc have no types for it
    """Gives each call its handler among `handlers`, which are by method name, before its message is read."""

    def __init__(self, handlers: Mapping[str, Any], access: Access, limits: Limits) -> None:
        self._access, self._limits, self._open = access, limits, 0
        self._handlers = {f"/{SERVICE}/{name}": handler for name, handler in handlers.items()}
        self._timed = {path: self._with_time_limit(handler) for path, handler in self._handlers.items()}
        self._free = {f"/{SERVICE}/{name}" for name in OPEN_CALLS}

    def service(self, handler_call_details: Any) -> Any:
        """Return the call's handler, None for a method that there is not (gRPC's interface)."""
        path = handler_call_details.method
        if not self._access.is_open and path not in self._free:
            try:
                self._access.check(headers_of(handler_call_details.invocation_metadata).get(b"authorization"))
            except RequestError as error:
                return _refusing(error)
        task = asyncio.current_task()
        assert task is not None
        self._open += 1
        task.add_done_callback(self._end)
        return (self._handlers if self._open <= UNTIMED else self._timed).get(path)

    def _end(self, _call: asyncio.Task[Any]) -> None:
        self._open -= 1

    def _with_time_limit(self, handler: Any) -> Any:
        """Return a handler that answers as `handler`, if the message is there in time; streams limit it themselves."""
        if handler.request_streaming:
            return handler

        async def answer(requests: AsyncIterator[bytes], context: Any) -> Any:
            try:
                return await handler.unary_unary(await next_message(requests, self._limits.read_seconds), context)
            except StopAsyncIteration:
                await refuse(context, BadRequest("message", "none", "Send one"))
            except RequestError as error:
                await refuse(context, error)

        return grpc.stream_unary_rpc_method_handler(answer, response_serializer=handler.response_serializer)


async def next_message(requests: AsyncIterator[bytes], seconds: float) -> bytes:
    """Return a call's next message. Raises SlowClient after `seconds`, StopAsyncIteration if there is none."""
    try:
        async with asyncio.timeout(seconds):
            return await anext(requests)
    except TimeoutError:
        raise SlowClient(seconds) from None


async def refuse(context: Any, error: RequestError) -> None:
    """End a call with an error's code and words; gRPC raises its own exception to that end.

    A client that retries is held back for as long as Retry-After does over HTTP (gRFC A6).
    """
    seconds = dict(error.headers).get(b"retry-after")
    retry = () if seconds is None else ((RETRY, f"{1000 * int(seconds)}"),)
    await context.abort(CODES[error.status], str(error), retry)


def _refusing(error: RequestError) -> Any:
    """Return a handler that refuses without reading a message."""

    async def answer(_requests: AsyncIterator[bytes], context: Any) -> None:
        await refuse(context, error)

    return grpc.stream_stream_rpc_method_handler(answer)


def headers_of(metadata: Any) -> dict[bytes, bytes]:
    """Return a call's metadata as HTTP headers are kept: lower-case names, both in bytes, "?" for what has no byte."""
    return {
        key.encode(): value.encode("latin-1", "replace") if isinstance(value, str) else bytes(value)
        for key, value in metadata or ()
    }
