"""Deadlines on one timer: each is met at its time, whatever the order in which they were set."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.virtual_time import Clock, run_on

from sextant_serving.deadlines import Deadlines

SOON = 0.001


@given(order=st.permutations(range(5)))
def test_futures_expire_in_the_order_of_their_times(order: list[int]) -> None:
    """A request that was decoded for long is due before those that overtook it."""

    async def run() -> list[int]:
        loop = asyncio.get_running_loop()
        expired: list[asyncio.Future[Any]] = []

        def expire(future: asyncio.Future[Any]) -> None:
            expired.append(future)
            future.set_result(None)

        deadlines = Deadlines(expire)
        futures = [loop.create_future() for _ in order]
        now = loop.time()
        for place in order:
            deadlines.set(futures[place], now + SOON * place / 10)
        await asyncio.gather(*futures)
        return [futures.index(future) for future in expired]

    assert run_on(Clock(), run()) == sorted(order)


def test_what_is_done_in_time_does_not_expire_and_is_let_go() -> None:
    """Answered and cancelled futures are forgotten when the next one comes, so that their answers take no memory."""

    async def run() -> tuple[list[asyncio.Future[Any]], int]:
        loop = asyncio.get_running_loop()
        expired: list[asyncio.Future[Any]] = []
        deadlines = Deadlines(expired.append)
        answered, cancelled, open_one = (loop.create_future() for _ in range(3))
        for future in (answered, cancelled):
            deadlines.set(future, loop.time() + SOON)
        answered.set_result(1)
        cancelled.cancel()
        deadlines.set(open_one, loop.time() + 60)
        kept = len(deadlines)
        await asyncio.sleep(5 * SOON)
        return expired, kept

    assert run_on(Clock(), run()) == ([], 1)
