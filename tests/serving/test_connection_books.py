"""What clients may take together, and when it is free again: bodies in memory, and connections."""

from __future__ import annotations

import asyncio
import gc
import socket
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator

import pytest

from sextant_serving.access import Access
from sextant_serving.application import refuse
from sextant_serving.batching import Traffic
from sextant_serving.connection import Connection, HttpServer
from sextant_serving.http_types import Limits, Request, Response

Admit = Callable[[bytes, dict[bytes, bytes]], None]
HEAD = b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
SIZE = 3_000_000


class House:
    """A server in process that answers when it may, and its clients' ends of socket pairs."""

    def __init__(self, limits: Limits, admit: Admit | None = None) -> None:
        self.may_answer, self._clients = asyncio.Event(), list[socket.socket]()
        self.server = HttpServer(self._handle, refuse, Traffic(), limits, admit)

    async def _handle(self, _: Request) -> Response:
        await self.may_answer.wait()
        return Response(200)

    async def client(self, sent: bytes = b"") -> socket.socket:
        """Connect, and send something."""
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        self._clients.append(theirs)
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(lambda: Connection(self.server), ours)
        await loop.sock_sendall(theirs, sent)
        return theirs

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the loop run until the condition holds; the test's time limit ends it otherwise."""
        while not condition():
            await asyncio.sleep(0)

    async def __aenter__(self) -> House:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.may_answer.set()
        for client in self._clients:
            client.close()
        await self.until(lambda: not self.server.connections)

    async def leave(self, client: socket.socket) -> None:
        """Close a client's end and wait until the server has noticed."""
        left = len(self.server.connections) - 1
        client.close()
        await self.until(lambda: len(self.server.connections) == left)


async def answer_to(client: socket.socket) -> bytes:
    """Return what the server sends until it closes."""
    loop, whole = asyncio.get_running_loop(), b""
    while part := await loop.sock_recv(client, 65536):
        whole += part
    return whole


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run a test in an event loop of its own."""

    async def main() -> None:
        await test()

    asyncio.run(main())


@pytest.fixture
def no_collector() -> Iterator[None]:
    """The garbage collector does nothing, and allocations are traced."""
    gc.collect()
    gc.disable()
    tracemalloc.start()
    yield
    tracemalloc.stop()
    gc.enable()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(HEAD % SIZE + bytes(SIZE - 1), id="broken-off"),
        pytest.param(HEAD % SIZE + bytes(SIZE), id="being-answered"),
        pytest.param(HEAD % 1 + b"0" + HEAD % SIZE + bytes(SIZE), id="waiting"),
    ],
)
def test_a_connection_that_is_lost_takes_its_bodies_with_it(sent: bytes) -> None:
    """Wherever a request was, its bytes are free at once, not with the next garbage collection."""

    async def test() -> None:
        async with House(Limits()) as house:
            before = tracemalloc.get_traced_memory()[0]
            await house.client(sent)
            await house.until(lambda: house.server.held >= SIZE - 1)
            assert tracemalloc.get_traced_memory()[0] - before > SIZE / 2
            (lost,) = house.server.connections
            lost.abort()
            for _ in range(3):  # turns in which the cancelled task ends
                await asyncio.sleep(0)
            assert tracemalloc.get_traced_memory()[0] - before < SIZE / 2
            assert house.server.held == 0

    run(test)


def test_bodies_beyond_the_room_for_all_are_refused_until_there_is_room() -> None:
    """A body that does not fit beside the others is 503 with Retry-After, announced or in pieces; later it is taken."""

    async def test() -> None:
        async with House(Limits(held_bytes=10_000)) as house:
            first = await house.client(HEAD % 8000 + bytes(7999))
            await house.until(lambda: house.server.held > 7000)
            chunked = CHUNKED + b"bb8\r\n" + bytes(3000)
            for sent in (HEAD % 3000, chunked):
                answer = await answer_to(await house.client(sent))
                assert answer.startswith(b"HTTP/1.1 503 ")
                assert b"\r\nretry-after: 1\r\n" in answer
            house.may_answer.set()
            await asyncio.get_running_loop().sock_sendall(first, b"0")
            await house.until(lambda: house.server.held == 0)
            again = await house.client(HEAD.replace(b"host: x", b"host: x\r\nconnection: close") % 3000 + bytes(3000))
            assert (await answer_to(again)).startswith(b"HTTP/1.1 200 ")

    run(test)


def test_a_body_alone_always_has_room() -> None:
    """What its pieces take besides its bytes does not count against it."""

    async def test() -> None:
        async with House(Limits(body_bytes=10_000, held_bytes=10_000)) as house:
            house.may_answer.set()
            head = HEAD.replace(b"host: x", b"host: x\r\nconnection: close") % 10_000
            client = await house.client(head + bytes(5000))
            await house.until(lambda: house.server.held >= 5000)
            await asyncio.get_running_loop().sock_sendall(client, bytes(5000))
            assert (await answer_to(client)).startswith(b"HTTP/1.1 200 ")

    run(test)


def test_a_body_in_crumbs_counts_for_what_it_takes() -> None:
    """Single bytes cost many times their size, so fewer of them are taken."""

    async def test() -> None:
        async with House(Limits(held_bytes=10_000)) as house:
            await house.client(HEAD % 5000 + bytes(4999))
            client = await house.client(CHUNKED + b"1\r\n0\r\n" * 300)
            assert (await answer_to(client)).startswith(b"HTTP/1.1 503 ")

    run(test)


def test_one_connection_too_many_is_closed_and_the_others_stay() -> None:
    """Beyond the limit nothing is answered; when one has left, the next is."""

    async def test() -> None:
        async with House(Limits(connections=2)) as house:
            house.may_answer.set()
            get = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
            one, two = await house.client(), await house.client()
            with pytest.raises(ConnectionError):
                await answer_to(await house.client(get))
            await house.until(lambda: len(house.server.connections) == 2)
            await house.leave(one)
            for client in (await house.client(get), two):
                if client is two:
                    await asyncio.get_running_loop().sock_sendall(two, get)
                assert (await answer_to(client)).startswith(b"HTTP/1.1 200 ")

    run(test)


@pytest.mark.parametrize("path", [b"/x", b"/", b"/v2/health/live"])
def test_without_the_token_a_body_is_not_read(path: bytes) -> None:
    """The refusal comes before the body does, on paths too that are open to a probe."""

    async def test() -> None:
        async with House(Limits(), Access("inference", None).admit) as house:
            house.may_answer.set()
            answer = await answer_to(await house.client(HEAD.replace(b"/x", path) % SIZE))
            assert answer.startswith(b"HTTP/1.1 401 ")
            assert house.server.held == 0

    run(test)
