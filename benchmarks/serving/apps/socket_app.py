"""The event loop and the kernel's sockets alone: every request gets the same answer, unread.

What this costs for a request, no server on the same loop can save.
"""

from __future__ import annotations

import asyncio
import os
from typing import cast

import uvloop

BODY = bytes(200)
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY


class Socket(asyncio.Protocol):
    """One connection, whose requests are all as long as its first."""

    def __init__(self) -> None:
        self._length = self._received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Count bytes; answer when a request is complete."""
        if not self._length:
            head, _, _ = data.partition(b"\r\n\r\n")
            body = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            self._length = len(head) + 4 + int(body or 0)
        self._received += len(data)
        if self._received >= self._length:
            self._received -= self._length
            self._transport.write(ANSWER)


async def serve() -> None:
    """Listen until the process is stopped."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Socket, "127.0.0.1", int(os.environ["BENCH_PORT"]))
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve())
