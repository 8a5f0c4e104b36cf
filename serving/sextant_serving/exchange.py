"""One request over a connection of its own, and its answer: how servers ask each other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import httptools

from sextant_serving.http_types import Response

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

FAULTS = (OSError, TimeoutError, httptools.HttpParserError)
"""What an exchange, and the opening of its connection, may raise."""


class _Answer:
    """Collects one response (httptools' callbacks)."""

    def __init__(self) -> None:
        self.body = b""
        self.content_type = b"application/json"
        self.headers: tuple[tuple[bytes, bytes], ...] = ()
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-type":
            self.content_type = value
        elif name.lower() == b"retry-after":
            self.headers = ((b"retry-after", value),)

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True


async def exchange(
    streams: Streams,
    method: bytes,
    target: bytes,
    headers: Iterable[tuple[bytes, bytes]],
    body: bytes = b"",
    *,
    most: int | None = None,
) -> Response:
    """Send one request, return its answer and close the connection; `headers` name the host.

    Raises OSError if the connection breaks off or the answer has more than `most` bytes, HttpParserError if it is none.
    """
    reader, writer = streams
    try:
        head = [b"%b %b HTTP/1.1" % (method, target), *(b"%b: %b" % header for header in headers)]
        writer.write(b"\r\n".join([*head, b"content-length: %d" % len(body), b"", body]))
        answer, received = _Answer(), 0
        parser = httptools.HttpResponseParser(answer)
        while not answer.complete:
            data = await reader.read(1 << 18)
            received += len(data)
            if not data or (most is not None and received > most):
                raise ConnectionResetError
            parser.feed_data(data)
        return Response(parser.get_status_code(), answer.body, answer.content_type, answer.headers)
    finally:
        writer.transport.abort()  # whoever does not read must not keep the connection
