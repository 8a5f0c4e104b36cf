"""The load: closed loops over a number of connections, on a core of its own.

Each connection sends its next request when it has the answer to the last. `python -m benchmarks.serving.load` reads a
JSON description from standard input and writes its counts and times to standard output.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from typing import Any, cast

import httptools


class Client(asyncio.Protocol):
    """One connection that repeats one request."""

    def __init__(self, request: bytes, ends_at: float, done: asyncio.Future[None]) -> None:
        self._request, self._ends_at, self._done = request, ends_at, done
        self._parser = httptools.HttpResponseParser(self)
        self.seconds: list[float] = []
        self.errors = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        """Parse an answer."""
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Note the time; go on until the end."""
        now = time.perf_counter()
        self.seconds.append(now - self._sent)
        if self._parser.get_status_code() != 200:
            self.errors += 1
        if now >= self._ends_at:
            self._transport.close()
        else:
            # The parser is left first: an answer without a length ends it.
            asyncio.get_running_loop().call_soon(self._send)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count a connection that broke as an error."""
        self.errors += exc is not None
        if not self._done.done():
            self._done.set_result(None)

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request)


async def over_http(port: int, request: bytes, connections: int, seconds: float) -> tuple[list[float], int]:
    """Return the seconds of each answer, and the number of errors."""
    loop = asyncio.get_running_loop()
    ends_at = time.perf_counter() + seconds
    ends = [loop.create_future() for _ in range(connections)]
    clients = [
        (await loop.create_connection(lambda end=end: Client(request, ends_at, end), "127.0.0.1", port))[1]
        for end in ends
    ]
    await asyncio.gather(*ends)
    return [one for client in clients for one in client.seconds], sum(client.errors for client in clients)


async def over_grpc(port: int, request: bytes, connections: int, seconds: float) -> tuple[list[float], int]:
    """As `over_http`, with one channel a connection; messages stay bytes on this side."""
    import grpc.aio

    ends_at = time.perf_counter() + seconds
    times: list[float] = []
    errors = 0

    async def loop_one(number: int) -> None:
        nonlocal errors
        options = [("grpc.use_local_subchannel_pool", 1), ("bench.number", number)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
            call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            while (begun := time.perf_counter()) < ends_at:
                try:
                    await call(request)
                except grpc.aio.AioRpcError:
                    errors += 1
                times.append(time.perf_counter() - begun)

    await asyncio.gather(*(loop_one(number) for number in range(connections)))
    return times, errors


def main() -> None:
    """Run one measurement."""
    import uvloop

    asked: dict[str, Any] = json.load(sys.stdin)
    send = over_grpc if asked["wire"] == "grpc" else over_http
    request = base64.b64decode(asked["request"])
    begun = time.perf_counter()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        times, errors = runner.run(send(asked["port"], request, asked["connections"], asked["seconds"]))
    json.dump({"seconds": time.perf_counter() - begun, "times": times, "errors": errors}, sys.stdout)


if __name__ == "__main__":
    main()
