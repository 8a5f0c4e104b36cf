"""HTTP/1.1 on asyncio: one protocol object a connection, answers in order, and limits on everything a client sends."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import cast

import httptools

from sextant_serving.batching import Traffic
from sextant_serving.errors import (
    BadRequest,
    BodiesFull,
    HeaderTooLarge,
    RequestError,
    SlowClient,
    TooLarge,
    WrongMethod,
)
from sextant_serving.http_types import Admit, Handler, Limits, Refuse, Request, Response, announces_body, origin_form
from sextant_serving.outbox import Outbox

HEADER_BYTES = 1 << 15
PIECE_BYTES = 64  # what a piece of a body takes in memory beside its bytes
PIPELINED = 16  # requests read ahead of the one being answered; beyond it the client is left to TCP
LINGER_SECONDS = 2.0  # after a refusal, what the client still sends is discarded, or it would never read the answer
SWEEP_SECONDS = 0.25
STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


@dataclass(eq=False)
class HttpServer:
    """What the connections share.

    `handle` answers a request and never raises, `refuse` renders a refusal. `admit`, if any, sees target and headers
    before the body is read, and raises a RequestError for a request that is not to be read.
    """

    handle: Handler
    refuse: Refuse
    traffic: Traffic
    limits: Limits
    admit: Admit | None = None
    connections: set[Connection] = field(default_factory=set)
    draining: bool = False
    held: int = 0  # bytes of bodies

    def __post_init__(self) -> None:
        self.outbox = Outbox(self.traffic)

    async def sweep(self) -> None:
        """Watch over slow and idle clients until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = loop.time()
            for connection in list(self.connections):
                connection.check_time(now)

    async def drain(self, seconds: float) -> None:
        """Answer what has begun, then close; after `seconds` close the rest as well."""
        self.draining = True
        loop = asyncio.get_running_loop()
        give_up = loop.time() + seconds
        for connection in list(self.connections):
            connection.close_if_idle()
        while self.connections and loop.time() < give_up:
            await asyncio.sleep(0.01)
        for connection in list(self.connections):
            connection.abort()


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._pending: deque[tuple[Request, bool, int] | RequestError] = deque()
        self._task: asyncio.Task[None] | None = None
        self._work: asyncio.Future[None] | None = None  # what the task waits for while there is nothing to answer
        self._writable: asyncio.Future[None] | None = None
        self._begun: float | None = None
        self._quiet_since = self._blocked_since = self._loop.time()
        self._open = 0
        self._held = 0
        self._refused = self._client_done = False
        self._close_at: float | None = None
        self._reset()

    def _reset(self) -> None:
        self._method = self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._size = self._cost = 0
        self._header_size = 0
        self._unfinished = 0  # bytes that came and were neither a body nor the end of the request
        self._in_headers = True
        self._has_two_hosts = False
        self._goes_on = False  # whether the parser is at the body of a request whose head another one has read

    # asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register with the server; one connection too many is closed at once."""
        self._transport = cast(asyncio.Transport, transport)
        self._server.connections.add(self)
        if len(self._server.connections) > self._server.limits.connections:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's signature)
        """Give up what is being answered, which nobody will read.

        The bodies are let go here: parser and connection refer to each other, so they go with a garbage collection.
        """
        self._server.connections.discard(self)
        self._server.traffic.leave(self, self._open)
        self._open = 0
        self._refused = True
        self._body.clear()
        self._pending.clear()
        self._release(self._held)
        if self._task is not None:
            self._task.cancel()
            self._task = None  # its traceback would keep the request

    def data_received(self, data: bytes) -> None:
        """Parse what has come."""
        while data and not self._refused:
            rest, begun = b"", self._headers if self._begun is not None else None
            size = self._size
            try:
                try:
                    self._parser.feed_data(data)
                except httptools.HttpParserUpgrade as upgrade:
                    rest = data[upgrade.args[0] :]
                    self._decline_upgrade()
            except httptools.HttpParserError:
                self._refuse(BadRequest("request", "not HTTP/1.1", "Send a well-formed request"))
            if begun is self._headers and self._begun is not None:  # what came ended no request and began none
                self._unfinished += len(data) if self._size == size else 0
            if max(self._header_size, self._unfinished) > HEADER_BYTES:
                self._refuse(HeaderTooLarge(HEADER_BYTES))
            data = rest

    def eof_received(self) -> bool:
        """Go on answering a client that has only finished sending."""
        self._client_done = True
        self._server.outbox.flush()
        return not self._is_idle

    def pause_writing(self) -> None:
        """Stop answering until the client reads."""
        self._writable = self._loop.create_future()
        self._blocked_since = self._loop.time()

    def resume_writing(self) -> None:
        """Go on answering."""
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    def _decline_upgrade(self) -> None:
        """Go on with HTTP/1.1 after a client's offer of another protocol.

        httptools ends such a request at its head, and its body would be read as a request of its own
        (github.com/MagicStack/httptools, issue 124): a new parser is told of a body to come.
        """
        framing = [name for name in (b"content-length", b"transfer-encoding") if name in self._headers]
        head = [self._method + b" / HTTP/1.1", *(b"%b: %b" % (name, self._headers[name]) for name in framing)]
        if not self._parser.should_keep_alive():
            head.append(b"connection: close")
        self._parser = httptools.HttpRequestParser(self)
        if self._begun is not None and not self._refused:
            self._goes_on = True
            self._parser.feed_data(b"\r\n".join(head) + b"\r\n\r\n")
            self._goes_on = False

    # httptools' callbacks

    def on_message_begin(self) -> None:
        """Start the clock."""
        if self._goes_on:
            return
        self._reset()
        self._begun = self._loop.time()
        self._open += 1
        self._server.traffic.begin(self)

    def on_url(self, url: bytes) -> None:
        """Collect the target."""
        if self._goes_on:
            return
        self._target += url
        self._header_size += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header; one after the body is counted and left out, since it must not change the others."""
        self._header_size += len(name) + len(value)
        if self._in_headers:
            name = name.lower()
            if name in self._headers and name == b"host":
                self._has_two_hosts = True
            self._headers[name] = value

    def on_headers_complete(self) -> None:
        """Refuse too large a body before it is sent; say go on to a client that asks."""
        if not self._in_headers:
            return
        self._in_headers = False
        if self._header_size > HEADER_BYTES:
            self._refuse(HeaderTooLarge(HEADER_BYTES))
            return
        self._method = self._parser.get_method()
        if self._method == b"CONNECT":
            self._refuse(WrongMethod("GET, HEAD, POST"))
            return
        if self._has_two_hosts or (b"host" not in self._headers and self._parser.get_http_version() == "1.1"):
            self._refuse(BadRequest("host", "not there once", "Send one Host header, as HTTP/1.1 asks"))
            return
        if not self._target.startswith(b"/"):
            self._target = origin_form(self._target)
        size = int(self._headers.get(b"content-length", b"0"))
        if size > self._server.limits.body_bytes:
            self._refuse(TooLarge("body", self._server.limits.body_bytes, "bytes"))
            return
        if self._server.admit is not None:
            try:
                self._server.admit(self._target, self._headers)
            except RequestError as error:
                self._refuse(error)
                return
        if size and self._server.held + size > self._server.limits.held_bytes:
            self._refuse(BodiesFull())
        elif self._headers.get(b"expect", b"").lower() == b"100-continue" and self._is_idle:
            self._server.outbox.send(self._transport, b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Collect the body up to the limit."""
        self._size += len(body)
        self._unfinished = 0
        if self._refused:
            return
        self._body.append(body)
        cost = len(body) + PIECE_BYTES
        self._cost += cost
        self._held += cost
        self._server.held += cost
        if self._size > self._server.limits.body_bytes:
            self._refuse(TooLarge("body", self._server.limits.body_bytes, "bytes"))
        elif self._server.held > max(self._server.limits.held_bytes, self._cost):  # one alone always has room
            self._refuse(BodiesFull())

    def on_message_complete(self) -> None:
        """Queue the request."""
        if self._header_size > HEADER_BYTES:  # by what came after the body
            self._refuse(HeaderTooLarge(HEADER_BYTES))
        if self._refused or (self._parser.should_upgrade() and announces_body(self._headers)):
            return
        self._begun = None
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body = []  # an idle connection keeps nothing of its last request
        request = Request(self._method, self._target, self._headers, body, time.monotonic())
        cost, self._cost = self._cost, 0
        self._enqueue((request, self._parser.should_keep_alive(), cost))

    # answering

    def _refuse(self, error: RequestError) -> None:
        """Answer the request that is being read with `error`, after those before it, and read no more."""
        if not self._refused:
            self._refused = True
            self._begun = None
            self._release(self._cost)
            self._cost = 0
            self._body.clear()
            self._enqueue(error)

    def _release(self, size: int) -> None:
        """Count bytes of bodies that are no longer held."""
        self._held -= size
        self._server.held -= size

    def _enqueue(self, item: tuple[Request, bool, int] | RequestError) -> None:
        self._pending.append(item)
        if len(self._pending) >= PIPELINED:
            self._transport.pause_reading()
        if self._task is None:
            self._task = self._loop.create_task(self._answer())
        elif self._work is not None:
            self._work.set_result(None)
            self._work = None

    @property
    def _is_idle(self) -> bool:
        """Tell whether nothing is being answered."""
        return self._task is None or self._work is not None or self._task.done()

    async def _answer(self) -> None:
        """Answer what comes, in order, until the connection ends."""
        goes_on = True
        while goes_on and (self._pending or not self._client_done):
            if not self._pending:
                self._work = self._loop.create_future()
                await self._work
            goes_on = await self._answer_next()
        if self._client_done:
            self._close()

    async def _answer_next(self) -> bool:
        """Answer the oldest of what is pending; tells whether the connection goes on."""
        item = self._pending.popleft()
        if isinstance(item, RequestError):
            self._write(self._server.refuse(item), keep_alive=False, has_body=self._method != b"HEAD")
            self._linger()
            return False
        request, keep_alive, cost = item
        response = await self._server.handle(request)
        if self._writable is not None:
            await self._writable
        self._release(cost)
        keep_alive = keep_alive and not self._server.draining
        self._write(response, keep_alive=keep_alive, has_body=request.method != b"HEAD")
        if not keep_alive:
            self._close()
        elif len(self._pending) == PIPELINED - 1:
            self._transport.resume_reading()
        return keep_alive

    def _write(self, response: Response, *, keep_alive: bool, has_body: bool = True) -> None:
        parts = [
            STATUS_LINES[response.status],
            b"content-type: %b\r\ncontent-length: %d\r\n" % (response.content_type, len(response.body)),
            *(b"%b: %b\r\n" % header for header in response.headers),
            b"connection: keep-alive\r\n\r\n" if keep_alive else b"connection: close\r\n\r\n",
            response.body if has_body else b"",
        ]
        self._server.outbox.send(self._transport, b"".join(parts))
        if self._pending:  # the client may not be reading, which only a write can tell
            self._server.outbox.flush()
        now = self._loop.time()
        self._quiet_since = now
        if self._open:
            self._open -= 1
            self._server.traffic.answer(self, now)

    def _close(self) -> None:
        """Close when the client has read what was written; `check_time` ends the waiting."""
        self._server.outbox.flush()
        self._transport.close()
        if self._close_at is None:
            self._close_at = self._loop.time() + self._server.limits.read_seconds

    def _linger(self) -> None:
        self._server.outbox.flush()
        self._close_at = self._loop.time() + LINGER_SECONDS
        if self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()

    # time

    def check_time(self, now: float) -> None:
        """Refuse a request that takes too long to come, leave a client that is idle or does not read."""
        limits = self._server.limits
        if self._close_at is not None:
            if now >= self._close_at:
                self.abort()
        elif self._writable is not None:
            if now - self._blocked_since > limits.read_seconds:
                self.abort()
        elif self._begun is not None:
            if len(self._pending) < PIPELINED and now - self._begun > limits.read_seconds:
                self._refuse(SlowClient(limits.read_seconds))
        elif self._is_idle and now - self._quiet_since > limits.idle_seconds:
            self._close()

    def close_if_idle(self) -> None:
        """Close unless a request has begun."""
        if self._is_idle and self._begun is None and self._close_at is None:
            self._close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()
