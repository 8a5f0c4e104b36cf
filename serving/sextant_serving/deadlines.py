"""Many deadlines on one timer: a timer for each request would cost more than the request's place in the queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Any

Expire = Callable[["asyncio.Future[Any]"], None]


class Deadlines:
    """Calls `expire` with each future that is not done at its time."""

    def __init__(self, expire: Expire) -> None:
        self._expire = expire
        self._loop = asyncio.get_running_loop()
        self._order = count()  # of futures with the same deadline, since futures have none
        self._heap: list[tuple[float, int, asyncio.Future[Any]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def __len__(self) -> int:
        """Return how many futures are held."""
        return len(self._heap)

    def set(self, future: asyncio.Future[Any], when: float) -> None:
        """Expect `future` by `when`, in the loop's time."""
        self._forget_done()
        heappush(self._heap, (when, next(self._order), future))
        if self._timer is None or when < self._timer_at:
            self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self._heap[0][0]
        self._timer = self._loop.call_at(self._timer_at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._heap and (self._heap[0][0] <= now or self._heap[0][2].done()):
            future = heappop(self._heap)[2]
            if not future.done():
                self._expire(future)
        if self._heap:
            self._set_timer()

    def _forget_done(self) -> None:
        """Let go of answers that came in time; in the usual order all of them."""
        while self._heap and self._heap[0][2].done():
            heappop(self._heap)
