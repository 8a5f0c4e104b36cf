"""Where batches run: short ones on the event loop, the others and all of a shadow's on the model's thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from sextant_serving.device import SHORT_SECONDS, Device

SHORT, LONG = SHORT_SECONDS / 2, SHORT_SECONDS * 20


class Clock:
    """Time that passes only when a batch says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now

    def batch(self, seconds: float) -> int:
        """Take so long; return the thread in which that was."""
        self.now += seconds
        return threading.get_ident()


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    """One thread for batches."""
    with ThreadPoolExecutor(1) as executor:
        yield executor


def where(thread: ThreadPoolExecutor, *batches: tuple[int, float], here: bool = True) -> list[bool]:
    """Run batches of so many rows and seconds; return whether each ran on the loop's thread."""

    async def run() -> list[bool]:
        clock = Clock()
        device = Device(thread, here=here, clock=clock)
        mine = threading.get_ident()
        return [await device.run(rows, partial(clock.batch, seconds)) == mine for rows, seconds in batches]

    return asyncio.run(run())


def test_a_batch_runs_on_the_loop_once_its_size_is_known_to_be_short(thread: ThreadPoolExecutor) -> None:
    """The first of a size goes to the thread, since nobody knows what it takes."""
    assert where(thread, (1, SHORT), (1, SHORT), (32, SHORT), (33, SHORT)) == [False, True, False, True]


def test_long_batches_never_hold_up_the_loop(thread: ThreadPoolExecutor) -> None:
    """Sizes are judged apart: one row may be short where thirty-two are not."""
    assert where(thread, *[(32, LONG)] * 3, *[(1, SHORT)] * 2, (32, LONG)) == [False] * 4 + [True, False]


def test_a_short_batch_that_takes_long_sends_the_next_ones_to_the_thread(thread: ThreadPoolExecutor) -> None:
    """Until enough short ones have followed."""
    found = where(thread, (1, SHORT), (1, LONG), *[(1, SHORT)] * 40)
    assert found[:4] == [False, True, False, False]
    assert found[-1]


def test_a_shadow_takes_none_of_the_loops_time(thread: ThreadPoolExecutor) -> None:
    """However short its batches are."""
    assert where(thread, *[(1, SHORT)] * 3, here=False) == [False] * 3


def test_one_batch_at_a_time_is_computed(thread: ThreadPoolExecutor) -> None:
    """A batch that comes while another is on the thread waits for it there, though it is short."""

    async def run() -> list[str]:
        order: list[str] = []
        clock = Clock()
        device = Device(thread, here=True, clock=clock)
        await device.run(1, lambda: clock.batch(SHORT))
        begun, may_end = threading.Event(), threading.Event()

        def long() -> None:
            begun.set()
            may_end.wait()
            order.append("long")

        slow = asyncio.create_task(device.run(64, long))
        await asyncio.to_thread(begun.wait)
        quick = asyncio.create_task(device.run(1, lambda: order.append("short")))
        await asyncio.sleep(0)
        may_end.set()
        await asyncio.gather(slow, quick)
        return order

    assert asyncio.run(run()) == ["long", "short"]


def test_a_failing_batch_raises_where_it_was_asked_for(thread: ThreadPoolExecutor) -> None:
    """On the thread and on the loop, and the next one runs."""

    async def run() -> int:
        clock = Clock()
        device = Device(thread, here=True, clock=clock)
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                await device.run(1, lambda: 1 // 0)
            await device.run(1, lambda: clock.batch(SHORT))
        return await device.run(1, lambda: 7)

    assert asyncio.run(run()) == 7
