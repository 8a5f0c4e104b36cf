"""A model's questions to the feature store: those that come while one is under way go together into the next."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
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
    ) -> None:
        """Use `thread`, which has one worker; a store that takes more than `patience` seconds counts as away.

        `requested` are the columns of a request that on-demand features read.
        """
        self._store, self._thread, self._metrics = store, thread, metrics
        self._requested, self._patience = requested, patience
        self._asked: list[tuple[Rows, asyncio.Future[Found]]] = []
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

    async def _answer(self, asked: list[tuple[Rows, asyncio.Future[Found]]]) -> None:
        """Answer some questions by one lookup; where a value of one makes it fail, by as many as leave it alone."""
        keys = [key for rows, _ in asked for key in rows.keys or ()]
        begun = time.perf_counter()
        try:
            found = await self._ask_store(keys, self._requested_of([rows for rows, _ in asked]))
            self._metrics.feature_times.update(self._store.newest)
            self._metrics.feature_rows.update(self._store.rows)
            reason = FEATURE_MISS
        except Exception as error:  # each online store raises its own classes when it is away
            if len(asked) > 1 and isinstance(error, OF_VALUES):
                middle = len(asked) // 2
                await self._answer(asked[:middle])
                await self._answer(asked[middle:])
                return
            found, reason = [None] * len(keys), _reason_of(error)
        self._metrics.feature_seconds.observe(time.perf_counter() - begun)
        start = 0
        for rows, future in asked:
            part = list(found[start : start + rows.count])
            start += rows.count
            if not future.done():
                future.set_result(Found(part, [reason if row is None else None for row in part]))

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


def _reason_of(error: Exception) -> str:
    """Log why a lookup failed, and return why its rows go without."""
    if isinstance(error, EntrypointError):
        _log.warning("an on-demand function failed: %s", error)
        return FEATURE_FAILURE
    _log.warning("the feature store did not answer: %s", type(error).__name__)
    return FEATURE_OUTAGE
