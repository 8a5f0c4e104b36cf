"""The sampled prediction log: requests hand their answers over, a thread of its own writes them as Parquet.

Nothing here is waited for by a request: what the writer has no room for is dropped and counted.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections import deque
from contextlib import suppress
from itertools import groupby
from pathlib import Path

import numpy as np

from sextant_plan.bundle import BundleSpec
from sextant_plan.prediction_log import Assignment
from sextant_plan.schema import PredictionLog as LogSettings
from sextant_serving.errors import LogKeyMissing, LogUnwritable
from sextant_serving.log_columns import Entry, LogColumns
from sextant_serving.log_files import LogFiles
from sextant_serving.metrics import ModelMetrics
from sextant_serving.picture_measures import thumbnail
from sextant_serving.rows import Answer, Rows

_log = logging.getLogger(__name__)

POLL_SECONDS = 0.1
QUEUED_REQUESTS = 1 << 14
REQUESTS_A_TURN = 64  # between two turns the writer lets the event loop have the interpreter

Queued = tuple["ModelLog", Entry]


class PredictionLog:
    """Writes Parquet files into `directory`; `key` makes the digests of what plans call `hashed`."""

    def __init__(self, directory: Path, key: bytes | None) -> None:
        """Start the writer; raises LogUnwritable if the folder cannot be made."""
        self._key = key
        self._queue: deque[Queued] = deque()
        self._loop = asyncio.get_running_loop()
        self._stop = threading.Event()
        self._limits: LogSettings | None = None
        try:
            self._files = LogFiles(directory, self._count)
        except OSError as error:
            raise LogUnwritable(directory, "--prediction-log", error.strerror or type(error).__name__) from error
        self._thread = threading.Thread(target=self._write_until_stopped, name="prediction-log", daemon=True)
        self._thread.start()

    def limit(self, settings: LogSettings) -> None:
        """Keep as much and as long as `settings` say, whichever model wrote it; until told, everything."""
        self._limits = settings

    def of(self, spec: BundleSpec, metrics: ModelMetrics) -> ModelLog | None:
        """Return the log of one model, None if its plan samples nothing. Raises LogKeyMissing."""
        settings = spec.serving.log
        if settings.sample == 0:
            return None
        if settings.hashed and self._key is None:
            raise LogKeyMissing(settings.hashed)
        return ModelLog(self, LogColumns(spec, metrics.labels, self._key), metrics, settings.sample)

    def put(self, log: ModelLog, entry: Entry) -> bool:
        """Queue an entry; False if there is no room."""
        if len(self._queue) >= QUEUED_REQUESTS:
            return False
        self._queue.append((log, entry))
        return True

    def close(self) -> None:
        """Write what is left; returns when the last file has its name."""
        self._stop.set()
        self._thread.join()

    def _write_until_stopped(self) -> None:
        """Work off the queue from time to time; what arrives while the disk fails is dropped, and nothing ends it."""
        stopped = False
        while not stopped:
            stopped = self._stop.wait(POLL_SECONDS)
            while self._queue:
                turn = [self._queue.popleft() for _ in range(min(REQUESTS_A_TURN, len(self._queue)))]
                for log, queued in groupby(turn, key=lambda item: item[0]):
                    self._write(log, [entry for _, entry in queued])
                time.sleep(0)
            try:
                self._files.rotate(everything=stopped)
                if (limits := self._limits) is not None:
                    self._files.prune(limits.keep, limits.max_megabytes << 20)
            except Exception as error:
                _log.error("the prediction log cannot be kept in bounds: %s", type(error).__name__)

    def _write(self, log: ModelLog, entries: list[Entry]) -> None:
        try:
            self._files.append(log.columns, log.columns.batch(entries), log)
        except Exception as error:  # a full disk, or a value that Arrow refuses, must not end the log
            rows = sum(len(entry.ids) for entry in entries)
            self._files.report(f"{rows} rows", error)
            self._count(log, "dropped", rows)

    def _count(self, log: ModelLog, outcome: str, rows: int) -> None:
        """Have rows counted on the event loop."""
        with suppress(RuntimeError):  # the loop has closed, and with it the page that would show the count
            self._loop.call_soon_threadsafe(log.count, outcome, rows)


class ModelLog:
    """One model's way into the log."""

    def __init__(self, log: PredictionLog, columns: LogColumns, metrics: ModelMetrics, sample: float) -> None:
        self.columns = columns
        self._log, self._metrics, self._sample = log, metrics, sample

    def offer(self, ids: list[str], assignment: Assignment, answer: Answer, rows: Rows, seconds: float) -> None:
        """Take a request's rows if it falls into the sample and the writer has room; returns at once."""
        if self._sample < 1 and random.random() >= self._sample:  # noqa: S311 - chance, not a secret
            return
        small = None
        if self.columns.keeps_pictures and rows.image is not None:  # some 30 microseconds a row of 64 x 64 pixels
            small = np.stack([thumbnail(pixels) for pixels in rows.image])
        kept = self.columns.kept(rows)
        if not self._log.put(self, Entry(time.time(), seconds, ids, assignment, answer, kept, small)):
            self.count("dropped", rows.count)

    def count(self, outcome: str, rows: int) -> None:
        """Count rows; on the event loop only."""
        self._metrics.log_rows[outcome] += rows
