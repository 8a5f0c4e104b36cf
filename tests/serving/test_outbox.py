"""Answers that are rendered in one turn of the loop: they leave together, and whoever closes loses none."""

from __future__ import annotations

import asyncio
import socket
import tracemalloc
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import pytest
import uvloop

from sextant_serving.application import refuse
from sextant_serving.batching import Traffic
from sextant_serving.connection import Connection, HttpServer
from sextant_serving.http_types import Limits, Request, Response

POST = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\n"


class Batch:
    """A server whose handler answers all requests in one turn of the loop, with the number of the request."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.server = HttpServer(self._handle, refuse, Traffic(), Limits())
        self.clients: list[socket.socket] = []
        self.waiting: list[asyncio.Future[None]] = []
        self.seen_early: list[bytes] = []
        self.clients_end, self.then_sends = False, b""

    async def _handle(self, request: Request) -> Response:
        future = self.loop.create_future()
        self.waiting.append(future)
        await future
        for client in self.clients:
            with suppress(BlockingIOError):
                self.seen_early.append(client.recv(1 << 16, socket.MSG_PEEK))
            if self.clients_end:
                client.shutdown(socket.SHUT_WR)
        if self.then_sends:
            self.clients[0].send(self.then_sends)
            self.then_sends = b""
        return Response(200, request.body)

    async def take(self, requests: list[bytes]) -> None:
        """Open a connection for each request and wait until the handler has them all."""
        for request in requests:
            ours, client = socket.socketpair()
            client.setblocking(False)
            await self.loop.connect_accepted_socket(lambda: Connection(self.server), ours)
            self.clients.append(client)
            await self.loop.sock_sendall(client, request)
        while len(self.waiting) < len(requests):
            await asyncio.sleep(0)

    def release(self) -> None:
        """Let the handler answer all in the loop's next turn."""
        for future in self.waiting:
            future.set_result(None)

    async def answers(self) -> list[bytes]:
        """Return what each client has got, once every one has got something."""
        return [await asyncio.wait_for(self.loop.sock_recv(client, 1 << 16), 10) for client in self.clients]

    async def __aenter__(self) -> Batch:
        return self

    async def __aexit__(self, *exc: object) -> None:
        for client in self.clients:
            client.close()
        while self.server.connections:
            await asyncio.sleep(0)


def run(test: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on the server's own kind of loop, in which a write goes to the socket at once."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test)


def test_answers_of_one_turn_leave_when_all_are_rendered() -> None:
    """No client has its answer while that of another is still being rendered."""

    async def test() -> None:
        async with Batch() as batch:
            await batch.take([POST + b"0", POST + b"1", POST + b"2"])
            batch.release()
            answers = await batch.answers()
            assert batch.seen_early == []
            assert [answer[-1:] for answer in answers] == [b"0", b"1", b"2"]

    run(test())


def test_the_only_request_under_way_is_answered_at_once() -> None:
    """Nothing could join its answer, which then does not wait for the next turn of the loop."""

    async def test() -> None:
        async with Batch() as batch:
            await batch.take([POST + b"0"])
            batch.release()
            await asyncio.sleep(0)  # the handler's turn
            assert batch.clients[0].recv(1 << 16).endswith(b"0")

    run(test())


@pytest.mark.parametrize("end", ["drain", "client"])
def test_a_connection_that_ends_in_the_same_turn_gets_its_answer_first(end: str) -> None:
    """Between rendering and writing comes a drain, or the end of what the client sends."""

    async def test() -> None:
        async with Batch() as batch:
            await batch.take([POST + b"0", POST + b"1"])
            batch.release()
            if end == "drain":
                drained = asyncio.create_task(batch.server.drain(5))  # runs after the answers are rendered
            else:
                batch.clients_end = True  # the loop reads it before its next turn
            answers = await batch.answers()
            assert [answer[: len(ANSWER)] for answer in answers] == [ANSWER, ANSWER]
            assert [answer[-1:] for answer in answers] == [b"0", b"1"]
            if end == "drain":
                await drained

    run(test())


@pytest.mark.parametrize("asked", [b"connection: close\r\n", b""], ids=["asked to close", "broken off"])
def test_a_connection_that_closes_after_its_answer_closes_after_all_of_it(asked: bytes) -> None:
    """The answer comes before the end, also where a malformed request follows it."""

    async def test() -> None:
        async with Batch() as batch:
            request = b"POST / HTTP/1.1\r\nhost: x\r\n" + asked + b"content-length: 1\r\n\r\n0"
            await batch.take([request + (b"" if asked else b"\x00nonsense\r\n\r\n"), POST + b"1"])
            batch.release()
            whole = bytearray()
            while part := await asyncio.wait_for(batch.loop.sock_recv(batch.clients[0], 1 << 16), 10):
                whole += part
            assert whole.startswith(ANSWER)
            assert whole.count(b"HTTP/1.1 ") == (1 if asked else 2)

    run(test())


def test_a_hundred_continue_does_not_overtake_the_answer_before_it() -> None:
    """A client that pipelines its next request asks for it in the turn in which its last was rendered."""
    asking = b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n"

    async def test() -> None:
        async with Batch() as batch:
            await batch.take([POST + b"0", POST + b"1"])
            batch.then_sends = asking  # the loop reads it before its next turn
            batch.release()
            whole = b""
            while whole.count(b"HTTP/1.1 ") < 2:
                whole += await asyncio.wait_for(batch.loop.sock_recv(batch.clients[0], 1 << 16), 10)
            assert whole.startswith(ANSWER)
            assert whole.endswith(b"HTTP/1.1 100 Continue\r\n\r\n")

    run(test())


class Unread:
    """A server of large answers, and one client of it that sends without reading."""

    def __init__(self, answer: int, limits: Limits) -> None:
        self.body, self.made = bytes(answer), 0
        self.server = HttpServer(self._handle, refuse, Traffic(), limits)
        ours, self.client = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # what is left waits in the server
        self._ours = ours
        self.client.setblocking(False)

    async def _handle(self, _: Request) -> Response:
        self.made += 1
        return Response(200, self.body)

    async def __aenter__(self) -> Unread:
        loop = asyncio.get_running_loop()
        _, self.connection = await loop.connect_accepted_socket(lambda: Connection(self.server), self._ours)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.client.close()
        self.connection.abort()
        await self.gone()

    async def gone(self) -> None:
        """Wait until the server has no connection."""
        while self.server.connections:
            await asyncio.sleep(0)

    async def send(self, stream: bytes) -> None:
        """Send `stream` and wait until nothing happens any more."""
        await asyncio.get_running_loop().sock_sendall(self.client, stream)
        made = -1
        while made != self.made:
            made = self.made
            for _ in range(100):
                await asyncio.sleep(0)


def test_answers_are_made_only_as_fast_as_the_client_reads() -> None:
    """Of a thousand requests in one write hardly any is answered before the client reads."""

    async def test() -> None:
        async with Unread(20_000, Limits()) as unread:
            await unread.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * 1000)
            assert 0 < unread.made < 100

    run(test())


def test_an_idle_connection_keeps_nothing_of_its_last_request() -> None:
    """The body is free as soon as the request is answered, also while the client thinks about its next one."""
    size = 3_000_000

    async def test() -> None:
        async with Unread(10, Limits()) as unread:
            before = tracemalloc.get_traced_memory()[0]
            await unread.send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size + bytes(size))
            assert unread.made == 1
            assert tracemalloc.get_traced_memory()[0] - before < size / 2

    tracemalloc.start()
    try:
        run(test())
    finally:
        tracemalloc.stop()


def test_a_client_that_never_reads_its_last_answer_is_left_in_the_end() -> None:
    """A connection that is closed with something unread ends by itself when the time for a request is over."""

    async def test() -> None:
        async with Unread(40_000, Limits(read_seconds=5)) as unread:
            await unread.send(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            assert unread.made == 1
            now = asyncio.get_running_loop().time()
            unread.connection.check_time(now + 4)
            await asyncio.sleep(0)
            assert unread.server.connections
            unread.connection.check_time(now + 6)
            await asyncio.wait_for(unread.gone(), 10)

    run(test())
