"""When a batch leaves, and what happens to those who cannot wait."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from sextant_serving.batching import Batcher, Job, Traffic
from sextant_serving.errors import DeadlineExceeded, Overloaded, TooLarge
from sextant_serving.rows import Answer, Rows

LONG = 60.0  # seconds that no test waits for: what depends on it would hit the time limit


class Device:
    """Answers batches and remembers their sizes; while `gate` is clear it is busy."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def run(self, jobs: list[Job]) -> None:
        """Answer each job with as many zeros as it has rows."""
        self.batches.append([job.rows.count for job in jobs])
        await self.gate.wait()
        for job in jobs:
            count = job.rows.count
            if not job.future.done():
                answer = np.zeros((count, 1), np.float32), np.zeros(count, np.intp), np.zeros(count, bool)
                job.future.set_result(Answer(*answer, fallbacks=[None] * count))


def batcher(device: Device, traffic: Traffic, *, max_wait: float = LONG, deadline: float = LONG) -> Batcher:
    """Return a batcher of 4 rows a batch and 8 in the queue."""
    return Batcher(device.run, traffic, max_rows=4, max_wait=max_wait, queue_rows=8, deadline=deadline)


def traffic_of(*connections: str) -> Traffic:
    """Return traffic with one open request a connection."""
    traffic = Traffic(patience=LONG)
    for connection in connections:
        traffic.begin(connection)
    return traffic


def test_a_batch_leaves_when_every_open_request_is_queued() -> None:
    """Two open requests leave together, at once when the second comes, whatever max_wait."""

    async def run() -> list[list[int]]:
        device = Device()
        queue = batcher(device, traffic_of("a", "b"))
        first = queue.submit(Rows(1))
        await asyncio.sleep(0)
        assert device.batches == []
        await asyncio.gather(first, queue.submit(Rows(2)))
        return device.batches

    assert asyncio.run(run()) == [[1, 2]]


def test_a_client_answered_just_now_is_waited_for() -> None:
    """A connection that was answered within the patience is expected back; one that has left is not."""
    traffic = traffic_of("a", "b")
    traffic.answer("b", now=10.0)
    assert not traffic.is_all_queued(1, now=10.0)
    assert traffic.is_all_queued(1, now=10.0 + LONG)
    traffic.begin("b")
    traffic.answer("b", now=80.0)
    assert not traffic.is_all_queued(1, now=80.0)
    traffic.leave("b", 0)
    assert traffic.is_all_queued(1, now=80.0)


def test_a_full_batch_leaves_without_waiting_for_the_rest() -> None:
    """Max_rows is enough, and is not exceeded; a larger request goes alone."""

    async def run() -> list[list[int]]:
        device = Device()
        queue = batcher(device, traffic_of(*"abcdef"))
        futures = [queue.submit(Rows(rows)) for rows in (3, 2)]
        await futures[0]
        futures.append(queue.submit(Rows(5)))
        await asyncio.gather(*futures[1:2])
        queue.submit(Rows(3))
        await futures[2]
        return device.batches

    assert asyncio.run(run()) == [[3], [2], [5]]


def test_max_wait_bounds_the_waiting() -> None:
    """A lone request leaves after max_wait although another one is still open."""

    async def run() -> list[list[int]]:
        device = Device()
        await batcher(device, traffic_of("a", "b"), max_wait=0.001).submit(Rows(1))
        return device.batches

    assert asyncio.run(run()) == [[1]]


def test_a_full_queue_refuses_and_a_waiting_request_meets_its_deadline() -> None:
    """The queue is bounded in rows, behind a busy device too, and gives its place back after the deadline."""

    async def run() -> None:
        device = Device()
        device.gate.clear()
        queue = batcher(device, traffic_of("a"), deadline=0.05)
        busy = queue.submit(Rows(1))
        waiting = queue.submit(Rows(8))
        with pytest.raises(Overloaded):
            queue.submit(Rows(1))
        with pytest.raises(TooLarge):
            queue.submit(Rows(9))
        for future in (busy, waiting):
            with pytest.raises(DeadlineExceeded):
                await future
        queue.submit(Rows(8)).cancel()  # a client that has gone gives its place back
        device.gate.set()
        await queue.submit(Rows(8))
        assert device.batches == [[1], [8]]

    asyncio.run(run())
