"""Asyncio on a virtual clock, so that a test of seconds takes none and no busy machine is late."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class Clock(selectors.SelectSelector):
    """A selector that does not wait: time jumps to the next timer."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Advance by the timeout."""
        self.now += timeout or 0.0
        return super().select(0)


def run_on(clock: Clock, work: Coroutine[Any, Any, Result]) -> Result:
    """Run `work` to its end on a loop whose time is the clock's."""
    loop = asyncio.SelectorEventLoop(clock)
    loop.time = lambda: clock.now  # type: ignore[method-assign]
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()
