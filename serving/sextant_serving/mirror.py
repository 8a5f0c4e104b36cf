"""Shadow traffic: copies of requests go to a challenger, whose answers are counted and compared, never sent.

Nothing here is waited for by the request that is copied. A shadow has a queue, a device thread and a lookup thread of
its own; what finds its queue full is dropped and counted.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from sextant_serving.errors import DeadlineExceeded, Overloaded, RequestError
from sextant_serving.logs import log_failure
from sextant_serving.model import Model
from sextant_serving.rows import Answer, Rows

_log = logging.getLogger(__name__)

HELD_BYTES = 1 << 26  # of the requests that wait to be read again for one shadow; a larger one waits alone


@dataclass(frozen=True, slots=True)
class Unread:
    """A request of `size` bytes as it came; `read_for` reads it for a model and decodes its pictures."""

    read_for: Callable[[Model], Rows]
    size: int


@dataclass(frozen=True, slots=True)
class Copied:
    """A request as `reader` has read it, and `unread` for a model of other inputs."""

    ids: list[str]
    rows: Rows
    reader: Model
    unread: Unread


Record = Callable[[Model, list[str], Answer, Rows, float], None]


class Mirror:
    """Sends copies of `percent` of the requests to `model`; `record` is told of each answer and its seconds."""

    def __init__(self, model: Model, percent: float, record: Record) -> None:
        self.model = model
        self._share = percent / 100
        self._record = record
        self._most = model.spec.serving.queue_rows
        self._tasks: set[asyncio.Task[None]] = set()
        self._held = 0
        # One request at a time, so that a lookup never waits for more than one on the thread that they share.
        self._reading = asyncio.Lock()
        self._loop = asyncio.get_running_loop()

    def offer(self, copied: Copied) -> None:
        """Take a copy if the request is in the share and the queue has room; returns at once."""
        if self._share < 1 and random.random() >= self._share:  # noqa: S311 - chance, not a secret
            return
        reads_alike = self.model.signature.reads_like(copied.reader.signature)
        needed, size = (copied.rows, 0) if reads_alike else (copied.unread, copied.unread.size)
        if len(self._tasks) >= self._most or (size and self._held and self._held + size > HELD_BYTES):
            self.model.metrics.mirror_dropped += 1
            return
        self._held += size
        task = self._loop.create_task(self._answer(copied.ids, needed))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, ids: list[str], needed: Rows | Unread) -> None:
        """Answer and record a copy; it holds the request itself no longer than until that is read."""
        model, begun = self.model, time.monotonic()
        status = 200
        try:
            rows = await self._read(needed, begun) if isinstance(needed, Unread) else needed
            del needed
            answer = await model.batcher.submit(rows, begun)
            self._record(model, ids, answer, rows, time.monotonic() - begun)
        except Overloaded:
            model.metrics.mirror_dropped += 1
            return
        except RequestError as error:
            status = error.status
        except Exception as error:
            log_failure(_log, f"the shadow {model.variant} failed", error)
            status = 500
        model.metrics.count_request(status, time.monotonic() - begun)

    async def _read(self, unread: Unread, begun: float) -> Rows:
        """Return the request's rows as the shadow reads them; not read after the deadline. Raises RequestError."""
        deadline = self.model.spec.serving.deadline

        def read() -> Rows:
            if time.monotonic() - begun >= deadline:
                raise DeadlineExceeded(deadline)
            return unread.read_for(self.model)

        try:
            async with self._reading:
                return await self._loop.run_in_executor(self.model.lookup_thread, read)
        finally:
            self._held -= unread.size

    def close(self) -> None:
        """Give up the copies under way."""
        for task in self._tasks:
            task.cancel()
