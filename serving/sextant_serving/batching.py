"""Dynamic batching: requests queue in rows, and leave together when it is not worth waiting longer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sextant_serving.errors import DeadlineExceeded, Overloaded, TooLarge
from sextant_serving.rows import Answer, Rows


class Traffic:
    """Which clients may send more soon, so that a batch need not wait for nobody.

    A request is open from its first byte to its answer. A connection that was answered less than
    `patience` seconds ago counts too: a client that sends one request after another is about to send.
    """

    def __init__(self, patience: float = 0.002) -> None:
        self.patience = patience
        self.open = 0
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

    def is_all_queued(self, queued: int, now: float) -> bool:
        """Tell whether `queued` requests are all that can be expected soon."""
        while self._answered:
            oldest = next(iter(self._answered))
            if now - self._answered[oldest] < self.patience:
                break
            del self._answered[oldest]
        return queued >= self.open + len(self._answered)


@dataclass(slots=True, eq=False)
class Job:
    """A request in the queue; times are the event loop's, in seconds."""

    rows: Rows
    future: asyncio.Future[Answer]
    arrived: float
    timer: asyncio.TimerHandle | None = None


RunBatch = Callable[[list[Job]], Awaitable[None]]


class Batcher:
    """A bounded queue before one device.

    `run` answers the jobs' futures. A batch leaves when it has `max_rows`, when its oldest job has waited
    `max_wait` seconds, or at once when `traffic` expects nobody else; at most `slots` are under way.
    """

    def __init__(
        self,
        run: RunBatch,
        traffic: Traffic,
        *,
        max_rows: int,
        max_wait: float,
        queue_rows: int,
        deadline: float,
        slots: int = 1,
    ) -> None:
        self._run, self._traffic = run, traffic
        self._max_rows, self._max_wait, self._queue_rows = max_rows, max_wait, queue_rows
        self._deadline = deadline
        self._free = slots
        self._queue: deque[Job] = deque()
        self._rows = self._reserved = 0
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    def submit(self, rows: Rows, received: float | None = None) -> asyncio.Future[Answer]:
        """Queue a request; the future gives its answer or raises DeadlineExceeded.

        `received` is the loop's time from which the deadline counts, now unless given. Raises Overloaded if
        the queue is full, TooLarge if the request could never fit.
        """
        self._check_room(rows.count)
        now = self._loop.time()
        job = Job(rows, self._loop.create_future(), now)
        job.timer = self._loop.call_at((now if received is None else received) + self._deadline, self._expire, job)
        self._queue.append(job)
        self._rows += rows.count
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
        if count > self._queue_rows:
            raise TooLarge("rows", self._queue_rows, "rows")
        self._sweep()
        if self._rows + self._reserved + count > self._queue_rows:
            raise Overloaded(self._queue_rows)

    def _expire(self, job: Job) -> None:
        if not job.future.done():
            job.future.set_exception(DeadlineExceeded(self._deadline))
        self._sweep()

    def _sweep(self) -> None:
        """Drop the oldest jobs whose client has been answered or has gone."""
        while self._queue and self._queue[0].future.done():
            self._drop(self._queue.popleft())

    def _drop(self, job: Job) -> None:
        self._rows -= job.rows.count
        if job.timer is not None and job.future.done():
            job.timer.cancel()

    def _consider(self) -> None:
        """Start a batch if one should leave now, else set the clock for when it must."""
        self._sweep()
        if not self._free or not self._queue:
            return
        now = self._loop.time()
        leave_at = self._queue[0].arrived + self._max_wait
        full = self._rows >= self._max_rows
        if full or now >= leave_at or self._traffic.is_all_queued(len(self._queue), now):
            self._start(self._take())
        else:
            self._set_timer(leave_at)

    def _set_timer(self, when: float) -> None:
        if self._timer is None:
            self._timer = self._loop.call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._consider()

    def _take(self) -> list[Job]:
        """Take jobs up to `max_rows`; one larger than that goes alone."""
        jobs: list[Job] = []
        rows = 0
        while self._queue and (not jobs or rows + self._queue[0].rows.count <= self._max_rows):
            job = self._queue.popleft()
            self._drop(job)
            if not job.future.done():
                jobs.append(job)
                rows += job.rows.count
        return jobs

    def _start(self, jobs: list[Job]) -> None:
        self._free -= 1
        task = self._loop.create_task(self._finish(jobs))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _finish(self, jobs: list[Job]) -> None:
        try:
            await self._run(jobs)
        except Exception as error:  # whatever went wrong with the batch is the answer of each of its jobs
            for job in jobs:
                if not job.future.done():
                    job.future.set_exception(error)
        finally:
            self._free += 1
            for job in jobs:
                if job.timer is not None:
                    job.timer.cancel()
            self._consider()
