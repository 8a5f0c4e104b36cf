"""Answers that leave together, at the end of the event loop's turn in which they were rendered."""

from __future__ import annotations

import asyncio

from sextant_serving.batching import Traffic


class Outbox:
    """What is to be written to connections, in order.

    A client that waits is woken by each write. A batch answers many requests in one turn of the loop: written one by
    one while the next is being rendered, each wakes its client anew; written together, the first wakes it for all
    (ADR 47). An answer that no other can join leaves at once.
    """

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[asyncio.Transport, bytes]] = []

    def send(self, transport: asyncio.Transport, data: bytes) -> None:
        """Write `data` in this turn of the loop, after what was given before."""
        if not self._waiting:
            if self._traffic.open <= 1:
                transport.write(data)
                return
            self._loop.call_soon(self.flush)
        self._waiting.append((transport, data))

    def flush(self) -> None:
        """Write what waits. Before a connection is closed, or its answer would be lost."""
        waiting, self._waiting = self._waiting, []
        for transport, data in waiting:
            if not transport.is_closing():
                transport.write(data)
