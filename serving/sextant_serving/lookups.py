"""A model's questions to the feature store: those that come while one is under way go together into the next."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sextant_plan.catalogue import FEATURE_FAILURE, FEATURE_MISS, FEATURE_OUTAGE
from sextant_plan.entrypoints import EntrypointError
from sextant_serving.features import FeatureLookup, StoredRow
from sextant_serving.metrics import ModelMetrics
from sextant_serving.rows import Rows

_log = logging.getLogger(__name__)

# What a value of one request may make a lookup raise, and what no store raises because it is away.
OF_VALUES = (EntrypointError, ValueError, TypeError, LookupError, ArithmeticError)


@dataclass(frozen=True, slots=True)
class Found:
    """The stored features of a request by row, and by row why it goes without; None where it does not."""

    rows: list[StoredRow | None]
    reasons: list[str | None]

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Where a row goes without, BOOL (rows,)."""
        return np.array([reason is not None for reason in self.reasons], dtype=np.bool_)


Question = tuple[Rows, "asyncio.Future[Found]"]


class Lookups:
    """Asks the store on a thread of its own; an outage is an answer, so that nobody has to await one in vain."""

    def __init__(
        self,
        store: FeatureLookup,
        thread: Executor,
        metrics: ModelMetrics,
        *,
        requested: Sequence[str],
        patience: float,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Use `thread`, which has one worker; a store that takes more than `patience` seconds counts as away.

        `requested` are the columns of a request that on-demand features read; `clock` measures seconds.
        """
        self._store, self._thread, self._metrics = store, thread, metrics
        self._requested, self._patience, self._clock = requested, patience, clock
        self._asked: list[Question] = []
        self._work: asyncio.Task[None] | None = None
        self._hanging: asyncio.Future[list[StoredRow | None]] | None = None
        self._loop = asyncio.get_running_loop()

    def ask(self, rows: Rows) -> asyncio.Future[Found]:
        """Return what the store will have said of the rows' keys; it is asked as soon as it is free."""
        future: asyncio.Future[Found] = self._loop.create_future()
        self._asked.append((rows, future))
        if self._work is None:
            self._work = self._loop.create_task(self._answer_all())
        return future

    async def _answer_all(self) -> None:
        try:
            while self._asked:
                asked, self._asked = self._asked, []
                await self._answer(asked)
        finally:
            self._work = None

    async def _answer(self, asked: list[Question]) -> None:
        """Answer some questions by one lookup; where a value of one makes it fail, by as many as leave it alone.

        Once that has taken the store's patience, those still unanswered go without, for the reason of the last lookup
        that they were in.
        """
        give_up, told = self._clock() + self._patience, set[str]()
        parts: deque[tuple[list[Question], str | None]] = deque([(asked, None)])
        while parts:
            part, reason = parts.popleft()
            if reason is not None and self._clock() >= give_up:
                _settle(part, None, reason)
                continue
            begun = self._clock()
            try:
                found = await self._look_up(part)
            except Exception as error:  # each online store raises its own classes when it is away
                reason = _reason_of(error, told)
                if len(part) > 1 and isinstance(error, OF_VALUES):
                    middle = len(part) // 2
                    parts += (part[:middle], reason), (part[middle:], reason)
                    continue
                _settle(part, None, reason)
            else:
                _settle(part, found, FEATURE_MISS)
            self._metrics.feature_seconds.observe(self._clock() - begun)

    async def _look_up(self, part: list[Question]) -> list[StoredRow | None]:
        """Return what the store has for the rows of some questions; raises what it raises."""
        keys = [key for rows, _ in part for key in rows.keys or ()]
        found = await self._ask_store(keys, self._requested_of([rows for rows, _ in part]))
        self._metrics.feature_times.update(self._store.newest)
        self._metrics.feature_rows.update(self._store.rows)
        return found

    def _requested_of(self, requests: Sequence[Rows]) -> dict[str, list[Any]]:
        """Return the values of all rows for each column that on-demand features read."""
        return {
            name: [value for rows in requests for value in (rows.requested or {})[name]] for name in self._requested
        }

    async def _ask_store(self, keys: list[str], requested: dict[str, list[Any]]) -> list[StoredRow | None]:
        """Look `keys` up; a store that hangs counts as away at once until it has come back."""
        if self._hanging is not None and not self._hanging.done():
            raise TimeoutError
        answer = self._loop.run_in_executor(self._thread, self._store.lookup, keys, requested)
        try:
            return await asyncio.wait_for(asyncio.shield(answer), self._patience)
        except TimeoutError:
            self._hanging = answer
            raise


def _settle(part: list[Question], found: list[StoredRow | None] | None, reason: str) -> None:
    """Answer questions with what was found for their rows; those without go so for `reason`, all if it is None."""
    start = 0
    for rows, future in part:
        own = [None] * rows.count if found is None else found[start : start + rows.count]
        start += rows.count
        if not future.done():
            future.set_result(Found(list(own), [reason if row is None else None for row in own]))


def _reason_of(error: Exception, told: set[str]) -> str:
    """Return why the rows of a failed lookup go without; log it unless it is among those `told`."""
    if isinstance(error, EntrypointError):
        reason, text = FEATURE_FAILURE, f"an on-demand function failed: {error}"
    else:
        reason, text = FEATURE_OUTAGE, f"the feature store did not answer: {type(error).__name__}"
    if text not in told:
        told.add(text)
        _log.warning("%s", text)
    return reason
