"""The connection itself, in process: whatever comes in whatever pieces, its books are straight afterwards."""

from __future__ import annotations

import asyncio
import re
import socket
from contextlib import suppress
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from sextant_serving.application import refuse
from sextant_serving.batching import Traffic
from sextant_serving.connection import PIPELINED, Connection, HttpServer
from sextant_serving.http_types import Limits, Request, Response

GOOD = b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc"
PIECES = st.sampled_from(
    [
        GOOD,
        GOOD,
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1, 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\nx",
        b"GET / HTTP/1.1\r\nhost: x\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\nupgrade: h2c\r\nconnection: upgrade\r\ncontent-length: 3\r\n\r\nabc",
        b"POST http://x/ HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/0.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\r\n\r\n",
        b"\x16\x03\x01",
    ]
)


TURNS = 1000  # of the loop, in which a server answers whatever it has in full


async def exchange(stream: bytes, cuts: list[int]) -> tuple[bytes, HttpServer]:
    """Send `stream` cut at `cuts` over a real socket, then end it; return what came back, and the server."""
    loop = asyncio.get_running_loop()

    async def echo(request: Request) -> Response:
        await asyncio.sleep(0)
        return Response(200, request.body)

    server = HttpServer(echo, refuse, Traffic(), Limits(body_bytes=64))
    ours, theirs = socket.socketpair()
    await loop.connect_accepted_socket(lambda: Connection(server), ours)
    reader, writer = await asyncio.open_connection(sock=theirs)
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    for start, end in pairwise(edges):
        writer.write(stream[start:end])
        await asyncio.sleep(0)
    with suppress(OSError):  # the server may have closed by now
        writer.write_eof()
    answers, is_idle = bytearray(), False
    while True:
        try:
            part = await asyncio.wait_for(reader.read(65536), 0.05 if server.connections else 10)
        except TimeoutError:
            if is_idle:  # the rest of a request never comes: the sweep would end it
                for connection in list(server.connections):
                    connection.abort()
            for _ in range(TURNS):  # a machine that stalls must not pass for a server that has no more to say
                await asyncio.sleep(0)
            is_idle = True
            continue
        except ConnectionError:
            break
        if not part:
            break
        answers, is_idle = answers + part, False
    writer.close()
    while server.connections:
        await asyncio.sleep(0)
    return bytes(answers), server


@settings(max_examples=150, database=None)
@given(
    parts=st.lists(PIECES | st.binary(max_size=30), max_size=2 * PIPELINED),
    cuts=st.lists(st.integers(0, 4000), max_size=6),
)
def test_any_stream_leaves_the_connections_books_straight(parts: list[bytes], cuts: list[int]) -> None:
    """Whole requests before the first fault are answered 200, a fault by one refusal at most; none stays open."""
    answers, server = asyncio.run(exchange(b"".join(parts), cuts))
    before_fault = 0
    while before_fault < len(parts) and parts[before_fault] == GOOD:
        before_fault += 1
    final = [status for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answers) if status != b"100"]
    assert final[:before_fault] == [b"200"] * before_fault
    assert all(status == b"200" for status in final[:-1])
    assert not final or final[-1] in (b"200", b"400", b"413", b"431")
    assert server.traffic.open == 0
    assert server.held == 0
    assert not server.connections


@given(cuts=st.lists(st.integers(0, 4000), max_size=12), count=st.integers(1, 3 * PIPELINED))
@settings(max_examples=60, database=None)
def test_pipelined_requests_come_back_whole_wherever_they_are_cut(cuts: list[int], count: int) -> None:
    """Every request of a well-formed stream is answered once."""
    answers, _ = asyncio.run(exchange(GOOD * count, cuts))
    assert answers.count(b"HTTP/1.1 200 OK") == answers.count(b"\r\n\r\nabc") == count
