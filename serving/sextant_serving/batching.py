"""Dynamic batching: requests queue in rows, and leave together when it is not worth waiting longer."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sextant_serving.deadlines import Deadlines
from sextant_serving.device import recent_mean
from sextant_serving.errors import DeadlineExceeded, Overloaded, TooLarge
from sextant_serving.rows import Answer, Rows

GATHER = 0.125  # of a batch's time: the most that a free device waits for the clients it has just answered
TICK = 0.001  # seconds: a shorter wait would be as long as this one, by the clock of uvloop's timers


class Traffic:
    """Which clients may send more soon, so that a batch need not wait for nobody.

    A request is open from its first byte to its answer. A connection that was answered less than
    `patience` seconds ago counts too: a client that sends one request after another is about to send.
    A request that a batcher holds, queued or on a device, is not expected to come; the batchers count those. Nor is a
    label that waits for other pods.
    """

    def __init__(self, patience: float = 0.002) -> None:
        self.patience = patience
        self.open = self.held = 0
        self._answered: dict[object, float] = {}

    def begin(self, connection: object) -> None:
        """Note that a request has begun."""
        self.open += 1
        self._answered.pop(connection, None)

    def answer(self, connection: object, now: float) -> None:
        """Note that a request was answered."""
        self.open -= 1
        self._answered.pop(connection, None)
        self._answered[connection] = now

    def leave(self, connection: object, unanswered: int) -> None:
        """Note that a connection has closed with so many open requests."""
        self.open -= unanswered
        self._answered.pop(connection, None)

    def is_nobody_expected(self) -> bool:
        """Tell whether every request that can be expected soon is with a batcher already."""
        return self.held >= self.open + len(self._answered)

    def is_any_overdue(self, now: float) -> bool:
        """Tell whether a client has not sent again within the patience."""
        return bool(self._answered) and now - next(iter(self._answered.values())) >= self.patience

    def forget_overdue(self, now: float) -> None:
        """Expect those no longer who have not sent again within the patience."""
        while self.is_any_overdue(now):
            del self._answered[next(iter(self._answered))]


@dataclass(slots=True, eq=False)
class Job:
    """A request in the queue, in seconds of `time.monotonic`.

    The event loop's clock has the same zero but under uvloop only whole milliseconds: it decides when a batch leaves,
    and no request is measured by it. `ahead` is what was begun for the request before it came here.
    """

    rows: Rows
    future: asyncio.Future[Answer]
    arrived: float
    leave_at: float
    ahead: asyncio.Future[Any] | None = None


RunBatch = Callable[[list[Job]], Awaitable[None] | None]
"""Answers the jobs' futures: before it returns None, or by the end of what it returns."""


class Batcher:
    """A bounded queue before one device.

    `run` answers the jobs' futures. A batch leaves when it has `max_rows`, when its oldest job has waited
    `max_wait` seconds, or at once when `traffic` expects nobody else; at most `slots` are under way. Without
    `traffic`, whose requests are then somebody else's copies, only the first two count.

    A device that has just ended a batch waits for the clients of it, who are about to send again, for `GATHER` of a
    batch's time, however long those in the queue have waited. Otherwise clients that send one request after another
    fall into two halves that take turns, and no batch is ever full.

    A queue that could be answered only after the deadline is refused at once, so that the time of those who are
    accepted does not grow with the load; a request that finds nobody waiting is always accepted.
    """

    def __init__(
        self,
        run: RunBatch,
        traffic: Traffic | None,
        *,
        max_rows: int,
        max_wait: float,
        queue_rows: int,
        deadline: float,
        slots: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set up an empty queue; `clock` measures, in seconds, how long a batch takes."""
        self._run, self._traffic, self._clock = run, traffic, clock
        self._max_rows, self._max_wait, self._queue_rows = max_rows, max_wait, queue_rows
        self._deadline = deadline
        self._batch_seconds = 0.0
        self._free = slots
        self._gather_until = -math.inf  # in the loop's time
        self._queue: deque[Job] = deque()
        self._rows = self._reserved = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._is_forgetting = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._deadlines = Deadlines(self._expire)

    def submit(
        self, rows: Rows, received: float | None = None, ahead: asyncio.Future[Any] | None = None
    ) -> asyncio.Future[Answer]:
        """Queue a request; the future gives its answer or raises DeadlineExceeded.

        `ahead` goes with it to `run`. `received` is the monotonic time from which the deadline counts, now unless
        given. Raises Overloaded if the queue is full or too slow, TooLarge if the request could never fit.
        """
        self._check_room(rows.count)
        now = self._loop.time()
        job = Job(rows, self._loop.create_future(), self._clock(), now + self._max_wait, ahead)
        self._deadlines.set(job.future, (now if received is None else received) + self._deadline)
        self._queue.append(job)
        self._rows += rows.count
        self._hold(1)
        self._consider()
        return job.future

    @contextmanager
    def reserve(self, count: int) -> Iterator[None]:
        """Hold room for rows that are not yet fit for the queue, such as pictures being decoded.

        Raises as `submit` does. A request submitted right after the block finds its room.
        """
        self._check_room(count)
        self._reserved += count
        try:
            yield
        finally:
            self._reserved -= count

    def _check_room(self, count: int) -> None:
        """Refuse what has no room, and what would only be answered after its deadline."""
        if count > self._queue_rows:
            raise TooLarge("rows", self._queue_rows, "rows")
        self._sweep()
        waiting = self._rows + self._reserved
        if not waiting:
            return
        wait = self._expected_wait(waiting + count)
        if waiting + count > self._queue_rows or wait > self._deadline:
            raise Overloaded(wait)

    def _expected_wait(self, rows: int) -> float:
        """Return the seconds until the last of so many waiting rows would be answered, a batch under way included."""
        return (math.ceil(rows / self._max_rows) + (not self._free)) * self._batch_seconds

    def _expire(self, future: asyncio.Future[Answer]) -> None:
        future.set_exception(DeadlineExceeded(self._deadline))
        self._sweep()

    def _sweep(self) -> None:
        """Drop the oldest jobs whose client has been answered or has gone."""
        while self._queue and self._queue[0].future.done():
            self._rows -= self._queue.popleft().rows.count
            self._hold(-1)

    def _hold(self, more: int) -> None:
        if self._traffic is not None:
            self._traffic.held += more

    def _consider(self) -> None:
        """Start a batch if one should leave now, else set the clock for when it must."""
        self._sweep()
        if not self._free or not self._queue:
            return
        now, leave_at = self._loop.time(), self._queue[0].leave_at
        if self._traffic is not None:
            leave_at = max(leave_at, self._gather_until)
        if self._rows >= self._max_rows or now >= leave_at or self._is_alone(now):
            self._start(self._take())
        else:
            self._set_timer(leave_at)

    def _is_alone(self, now: float) -> bool:
        """Tell whether nobody else is expected; who is overdue may be so for want of being read, and is read first."""
        if self._traffic is None:
            return False
        if not self._is_forgetting and self._traffic.is_any_overdue(now):
            self._is_forgetting = True
            self._loop.call_soon(self._forget_overdue, now)
        return self._traffic.is_nobody_expected()

    def _forget_overdue(self, now: float) -> None:
        self._is_forgetting = False
        if self._traffic is not None:
            self._traffic.forget_overdue(now)
        self._consider()

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            if self._timer_at <= when:
                return
            self._timer.cancel()
        self._timer, self._timer_at = self._loop.call_at(when, self._on_timer), when

    def _on_timer(self) -> None:
        """Consider what has come, once the sockets have been read: the loop may have been kept from it until now.

        Timers are called before sockets are read, and so is what they ask to be called soon, under uvloop.
        """
        self._timer = None
        self._loop.call_soon(self._loop.call_soon, self._consider)

    def _take(self) -> list[Job]:
        """Take jobs up to `max_rows`; one larger than that goes alone."""
        jobs: list[Job] = []
        rows = 0
        while self._queue and (not jobs or rows + self._queue[0].rows.count <= self._max_rows):
            job = self._queue.popleft()
            self._rows -= job.rows.count
            if not job.future.done():
                jobs.append(job)
                rows += job.rows.count
            else:
                self._hold(-1)
        return jobs

    def _start(self, jobs: list[Job]) -> None:
        self._free -= 1
        begun = self._clock()
        rest, error = None, None
        try:
            rest = self._run(jobs)
        except Exception as raised:
            error = raised
        if rest is not None:
            task = self._loop.create_task(self._finish(jobs, begun, rest))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        self._end(jobs, begun, error)
        if self._queue:
            self._loop.call_soon(self._consider)  # others get their turn between two batches

    async def _finish(self, jobs: list[Job], begun: float, rest: Awaitable[None]) -> None:
        try:
            await rest
        except Exception as error:
            self._end(jobs, begun, error)
        else:
            self._end(jobs, begun)
        self._consider()

    def _end(self, jobs: list[Job], begun: float, error: Exception | None = None) -> None:
        """Free a batch's place; whatever went wrong with it is the answer of each of its jobs."""
        if error is None:
            self._batch_seconds = recent_mean(self._batch_seconds or None, self._clock() - begun)
        else:
            for job in jobs:
                if not job.future.done():
                    job.future.set_exception(error)
        self._free += 1
        gather = GATHER * self._batch_seconds
        self._gather_until = self._loop.time() + gather if gather >= TICK else -math.inf
        self._hold(-len(jobs))
