"""Where a model's batches run: on a thread of its own, unless they take less time than handing them over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

T = TypeVar("T")

SHORT_SECONDS = 0.0003  # two to three times what a thread takes to wake up, and for the loop to be woken by it
MEMORY = 0.2  # the weight of the last batch


def recent_mean(before: float | None, seconds: float) -> float:
    """Return the mean of a batch's seconds and those before it, of which ten batches forget nine tenths."""
    return seconds if before is None else before + MEMORY * (seconds - before)


class Device:
    """Runs one model's batches one at a time; `here` lets short ones run on the event loop.

    What a batch will take is known from those of about as many rows before it, so the first always runs on the thread.
    """

    def __init__(self, thread: Executor, *, here: bool, clock: Callable[[], float] = time.perf_counter) -> None:
        """Use `thread`, which has one worker; `clock` measures in seconds how long a batch takes."""
        self._thread, self._here, self._clock = thread, here, clock
        self._mean_seconds: dict[int, float] = {}
        self._under_way = 0
        self._loop = asyncio.get_running_loop()

    def is_short(self, rows: int) -> bool:
        """Tell whether `run_here` may run a batch of so many rows now."""
        size = rows.bit_length()
        return self._here and not self._under_way and self._mean_seconds.get(size, SHORT_SECONDS) < SHORT_SECONDS

    def run_here(self, rows: int, batch: Callable[[], T]) -> T:
        """Return what `batch`, of so many rows, returns, or raise what it raises; it runs on the event loop."""
        return self._timed(rows.bit_length(), batch)

    async def run(self, rows: int, batch: Callable[[], T]) -> T:
        """Return what `batch` returns, or raise what it raises, wherever it runs best."""
        if self.is_short(rows):
            return self.run_here(rows, batch)
        self._under_way += 1
        try:
            return await self._loop.run_in_executor(self._thread, self._timed, rows.bit_length(), batch)
        finally:
            self._under_way -= 1

    def _timed(self, size: int, batch: Callable[[], T]) -> T:
        begun = self._clock()
        result = batch()
        seconds = self._clock() - begun
        self._mean_seconds[size] = recent_mean(self._mean_seconds.get(size), seconds)
        return result
