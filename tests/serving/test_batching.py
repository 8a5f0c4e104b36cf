"""When a batch leaves, and what happens to those who cannot wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from itertools import pairwise

import numpy as np
import pytest
from tests.virtual_time import Clock, run_on

from sextant_serving.batching import Batcher, Job, Traffic
from sextant_serving.errors import DeadlineExceeded, Overloaded, TooLarge
from sextant_serving.rows import Answer, Rows

LONG = 60.0  # seconds that no test waits for: what depends on it would hit the time limit


def answer_at_once(jobs: list[Job]) -> None:
    """Answer each job with as many zeros as it has rows, unless its client has been answered or has gone."""
    for job in jobs:
        count = job.rows.count
        if not job.future.done():
            answer = np.zeros((count, 1), np.float32), np.zeros(count, np.intp), np.zeros(count, bool)
            job.future.set_result(Answer(*answer, fallbacks=[None] * count))


class Device:
    """Answers batches and remembers their sizes; while `gate` is clear it is busy."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def run(self, jobs: list[Job]) -> None:
        """Answer the jobs once the gate is open."""
        self.batches.append([job.rows.count for job in jobs])
        await self.gate.wait()
        answer_at_once(jobs)


def batcher(device: Device, traffic: Traffic | None, *, max_wait: float = LONG, deadline: float = LONG) -> Batcher:
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


def test_a_batch_that_needs_no_waiting_is_answered_before_submit_returns() -> None:
    """A lone request costs no task and no turn of the loop; its place in the queue is free again."""

    async def run() -> None:
        traffic = traffic_of("a")
        queue = Batcher(answer_at_once, traffic, max_rows=4, max_wait=LONG, queue_rows=8, deadline=LONG)
        for _ in range(20):
            assert queue.submit(Rows(1)).done()
        assert traffic.held == 0

    asyncio.run(run())


def test_batches_that_need_no_waiting_let_others_have_their_turn() -> None:
    """Between two of them the loop goes round, so that a queue that has grown holds up nobody else."""

    async def run() -> list[int]:
        gate = asyncio.Event()

        async def busy(jobs: list[Job]) -> None:
            await gate.wait()
            answer_at_once(jobs)

        def run_batch(jobs: list[Job]) -> Awaitable[None] | None:
            if not gate.is_set():
                return busy(jobs)
            answer_at_once(jobs)
            return None

        clients = traffic_of("a", "b", "c", "d")
        queue = Batcher(run_batch, clients, max_rows=4, max_wait=LONG, queue_rows=16, deadline=LONG)
        waiting = [queue.submit(Rows(4)) for _ in range(4)]
        gate.set()
        await waiting[0]
        answered = [sum(one.done() for one in waiting)]
        while answered[-1] < len(waiting):
            await asyncio.sleep(0)
            answered.append(sum(one.done() for one in waiting))
        return answered

    answered = asyncio.run(run())
    assert all(now - before <= 1 for before, now in pairwise(answered))
    assert answered[0] < len(answered)


def test_a_batch_that_fails_at_once_fails_its_jobs_alone() -> None:
    """The next batch finds a free place."""
    failing = [True, False]

    def run_batch(jobs: list[Job]) -> None:
        if failing.pop(0):
            raise ZeroDivisionError
        answer_at_once(jobs)

    async def run() -> None:
        queue = Batcher(run_batch, traffic_of("a"), max_rows=4, max_wait=LONG, queue_rows=8, deadline=LONG)
        with pytest.raises(ZeroDivisionError):
            await queue.submit(Rows(1))
        assert queue.submit(Rows(1)).done()

    asyncio.run(run())


def test_a_client_answered_just_now_is_waited_for() -> None:
    """A connection that was answered within the patience is expected back; one that has left is not."""
    traffic = traffic_of("a", "b")
    traffic.held = 1
    traffic.answer("b", now=10.0)
    traffic.forget_overdue(now=10.0)
    assert not traffic.is_nobody_expected()
    assert traffic.is_any_overdue(now=10.0 + LONG)
    traffic.forget_overdue(now=10.0 + LONG)
    assert traffic.is_nobody_expected()
    traffic.begin("b")
    traffic.answer("b", now=80.0)
    assert not traffic.is_nobody_expected()
    traffic.leave("b", 0)
    assert traffic.is_nobody_expected()


def test_a_request_on_another_device_is_not_waited_for() -> None:
    """Two batchers share the traffic: what the first holds, on its device or queued, cannot come to the second."""

    async def run() -> list[list[int]]:
        first, second = Device(), Device()
        first.gate.clear()
        traffic = traffic_of("a", "b", "c")
        busy = batcher(first, traffic)
        running = busy.submit(Rows(4))
        waiting = busy.submit(Rows(1))
        await asyncio.sleep(0)
        assert first.batches == [[4]]
        await batcher(second, traffic).submit(Rows(1))
        waiting.cancel()  # a client that has gone is held no longer than it takes to notice
        first.gate.set()
        await running
        while traffic.held:
            await asyncio.sleep(0)
        return second.batches

    assert asyncio.run(run()) == [[1]]


def test_copies_wait_for_a_full_batch_or_max_wait() -> None:
    """Without traffic a batch is never sent off early: its requests are somebody else's copies."""

    async def run() -> list[list[int]]:
        device = Device()
        queue = batcher(device, None)
        first = queue.submit(Rows(2))
        await asyncio.sleep(0)
        assert device.batches == []
        await asyncio.gather(first, queue.submit(Rows(2)))
        await batcher(device, None, max_wait=0.001).submit(Rows(1))
        return device.batches

    assert asyncio.run(run()) == [[2, 2], [1]]


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


def test_batches_of_less_than_a_tick_count_in_the_expected_wait() -> None:
    """The loop's clock may stand still during a batch, as uvloop's does for a millisecond; admission must not."""
    readings = iter(range(1000))

    async def run() -> None:
        device, loop = Device(), asyncio.get_running_loop()
        frozen = loop.time()
        loop.time = lambda: frozen  # type: ignore[method-assign]
        limits = {"max_rows": 4, "queue_rows": 1200}
        queue = Batcher(device.run, None, **limits, max_wait=0.0, deadline=0.01, clock=lambda: next(readings) * 0.0004)
        await queue.submit(Rows(1))
        device.gate.clear()
        busy = queue.submit(Rows(1))
        await asyncio.sleep(0)
        waiting = queue.submit(Rows(40))
        with pytest.raises(Overloaded):
            queue.submit(Rows(200))
        device.gate.set()
        await asyncio.gather(busy, waiting)
        del loop.time

    asyncio.run(run())


@pytest.mark.parametrize("load", [0.5, 2.0, 10.0])
def test_accepted_requests_meet_their_deadline_whatever_is_offered(load: float) -> None:
    """Twice or ten times the capacity: 99 of 100 accepted are in time, and the device does as much as it can.

    Simulated on a virtual clock: batches of at most 4 rows take 10 ms, so the capacity is 400 requests a second; the
    queue has room for three seconds of work and the deadline is 0.2 s.
    """
    clock, deadline, seconds = Clock(), 0.2, 8.0 if load < 10 else 2.0
    times: list[float] = []
    ends = {"answered": 0, "refused": 0, "late": 0}

    async def device(jobs: list[Job]) -> None:
        await asyncio.sleep(0.01)
        await Device().run(jobs)

    async def client(queue: Batcher) -> None:
        begun = clock.now
        try:
            await queue.submit(Rows(1))
        except Overloaded as error:
            ends["refused"] += error.headers == ((b"retry-after", b"1"),)
        except DeadlineExceeded:
            ends["late"] += 1
        else:
            ends["answered"] += 1
            times.append(clock.now - begun)

    async def run() -> None:
        limits = {"max_rows": 4, "queue_rows": 1200}
        queue = Batcher(device, None, **limits, max_wait=0.002, deadline=deadline, clock=lambda: clock.now)
        generator, clients = np.random.default_rng(3), []
        while clock.now < seconds:
            await asyncio.sleep(generator.exponential(1 / (400 * load)))
            clients.append(asyncio.ensure_future(client(queue)))
        await asyncio.gather(*clients)

    run_on(clock, run())
    accepted = ends["answered"] + ends["late"]
    assert ends["late"] <= 0.01 * accepted
    assert np.quantile(times, 0.99) <= deadline
    assert ends["answered"] >= 0.95 * min(load, 1.0) * 400 * seconds * (0.95 if load < 1 else 1)
    assert (ends["refused"] > 0) == (load > 1)


def in_turns(*, away: float, patience: float) -> tuple[list[int], float]:
    """Let 8 clients, who came in two halves, ask again and again, each `away` seconds after its answer.

    Batches of at most 8 rows take 20 ms whatever their size. Returns their rows, and for how many seconds the device
    stood idle in the second that it all lasted, both without the first tenth.
    """
    clock, began, ended = Clock(), 0.1, 1.0
    batches: list[tuple[float, int]] = []
    traffic = Traffic(patience)

    async def device(jobs: list[Job]) -> None:
        batches.append((clock.now, len(jobs)))
        await asyncio.sleep(0.02)
        answer_at_once(jobs)

    async def client(queue: Batcher, name: str, first: float) -> None:
        await asyncio.sleep(first)
        while clock.now < ended:
            traffic.begin(name)
            await queue.submit(Rows(1))
            traffic.answer(name, clock.now)
            await asyncio.sleep(away)

    async def run() -> None:
        queue = Batcher(
            device, traffic, max_rows=8, max_wait=0.005, queue_rows=64, deadline=1.0, clock=lambda: clock.now
        )
        await asyncio.gather(*(client(queue, str(place), 0.01 * (place % 2)) for place in range(8)))

    run_on(clock, run())
    steady = [(at, rows) for at, rows in batches if began <= at < ended]
    return [rows for _, rows in steady], ended - began - 0.02 * len(steady)


def test_clients_who_come_in_two_halves_end_in_one_batch() -> None:
    """A device that is free waits a little for those whom it has just answered, so that its batches become full."""
    rows, _ = in_turns(away=0.0005, patience=0.002)
    assert set(rows) == {8}


def test_a_free_device_does_not_wait_long_for_clients_who_stay_away() -> None:
    """At most an eighth of a batch's time, however long they are expected; those in the queue then leave."""
    rows, idle = in_turns(away=0.015, patience=LONG)
    assert max(rows) < 8
    assert idle <= (0.125 * 0.02 + 1e-9) * (len(rows) + 1)


def test_a_client_is_not_given_up_before_it_was_read() -> None:
    """The loop may be kept busy for longer than the patience; what was sent meanwhile is read first, and leaves too."""

    async def run() -> list[list[int]]:
        device, loop, traffic = Device(), asyncio.get_running_loop(), Traffic(patience=0.0)
        queue = batcher(device, traffic)
        for name in "ab":
            traffic.begin(name)
            traffic.answer(name, loop.time())
        traffic.begin("a")
        first = queue.submit(Rows(1))
        assert device.batches == []
        traffic.begin("b")  # read in the same turn of the loop
        await asyncio.gather(first, queue.submit(Rows(2)))
        return device.batches

    assert asyncio.run(run()) == [[1, 2]]


def test_a_client_that_was_read_and_has_sent_nothing_is_given_up() -> None:
    """One turn of the loop after its patience has run out, and not after max_wait."""

    async def run() -> list[list[int]]:
        device, loop, traffic = Device(), asyncio.get_running_loop(), Traffic(patience=0.0)
        queue = batcher(device, traffic)
        traffic.begin("b")
        traffic.answer("b", loop.time())
        traffic.begin("a")
        await queue.submit(Rows(1))
        return device.batches

    assert asyncio.run(run()) == [[1]]
