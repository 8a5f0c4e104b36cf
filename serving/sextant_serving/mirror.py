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

from sextant_serving.errors import Overloaded, RequestError
from sextant_serving.logs import log_failure
from sextant_serving.model import Model
from sextant_serving.rows import Answer, Rows

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Copied:
    """A request as the champion has read it; `read_for` reads and decodes it for a model of other inputs."""

    ids: list[str]
    rows: Rows
    reader: Model
    read_for: Callable[[Model], Rows]


Record = Callable[[Model, list[str], Answer, Rows, float], None]


class Mirror:
    """Sends copies of `percent` of the requests to `model`; `record` is told of each answer and its seconds."""

    def __init__(self, model: Model, percent: float, record: Record) -> None:
        self.model = model
        self._share = percent / 100
        self._record = record
        self._most = model.spec.serving.queue_rows
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    def offer(self, copied: Copied) -> None:
        """Take a copy if the request is in the share and the queue has room; returns at once."""
        if self._share < 1 and random.random() >= self._share:  # noqa: S311 - chance, not a secret
            return
        if len(self._tasks) >= self._most:
            self.model.metrics.mirror_dropped += 1
            return
        task = self._loop.create_task(self._answer(copied))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, copied: Copied) -> None:
        model, begun = self.model, time.monotonic()
        status = 200
        try:
            rows = copied.rows
            if not model.signature.reads_like(copied.reader.signature):
                rows = await self._loop.run_in_executor(model.lookup_thread, copied.read_for, model)
            answer = await model.batcher.submit(rows, begun)
            self._record(model, copied.ids, answer, rows, time.monotonic() - begun)
        except Overloaded:
            model.metrics.mirror_dropped += 1
            return
        except RequestError as error:
            status = error.status
        except Exception as error:
            log_failure(_log, f"the shadow {model.variant} failed", error)
            status = 500
        model.metrics.count_request(status, time.monotonic() - begun)

    def close(self) -> None:
        """Give up the copies under way."""
        for task in self._tasks:
            task.cancel()
