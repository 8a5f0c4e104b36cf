"""Parquet files that are rotated by rows and age and bounded on disk; a file has its name once it is complete."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sextant_serving.log_columns import LogColumns

if TYPE_CHECKING:
    import pyarrow

_log = logging.getLogger(__name__)

ROWS_A_FILE = 1 << 17
ROWS_A_GROUP = 1 << 13
AGE_SECONDS = 60.0  # what a crash can lose
PRUNE_SECONDS = 10.0
ABANDONED_SECONDS = 3600.0  # a file in the making is written to every minute
UNFINISHED = ".part"

Settle = Callable[[Any, str, int], None]
"""Is told whose rows have become `written` or `dropped`, and how many."""


@dataclass(eq=False)
class Segment:
    """A file in the making: its writer, its rows, those not yet in a row group, and when it was begun.

    `owed` has how many of the rows are whose, who is told of them once the file is complete or given up.
    """

    path: Path
    writer: Any
    begun: float
    pending: list[pyarrow.RecordBatch]
    rows: int = 0
    waiting: int = 0
    owed: Counter[Hashable] = field(default_factory=Counter)

    @property
    def unfinished(self) -> Path:
        """Where the rows are until the file is complete."""
        return self.path.with_name(self.path.name + UNFINISHED)


class LogFiles:
    """One open file a model below `directory`; not thread-safe."""

    def __init__(
        self,
        directory: Path,
        settle: Settle,
        *,
        rows_a_file: int = ROWS_A_FILE,
        age_seconds: float = AGE_SECONDS,
    ) -> None:
        """Make the folder; `settle` is called for each row that was taken. Raises OSError."""
        directory.mkdir(parents=True, exist_ok=True)
        self._settle = settle
        self._directory, self._rows_a_file, self._age_seconds = directory, rows_a_file, age_seconds
        self._segments: dict[tuple[str, str, str], Segment] = {}
        self._count, self._prune_at = 0, 0.0
        self._failing = False
        # The process id tells servers apart that share a folder; random digits do so across restarts and hosts.
        self._suffix = f"{os.getpid()}-{os.urandom(4).hex()}"

    def append(self, columns: LogColumns, batch: pyarrow.RecordBatch, owner: Hashable) -> None:
        """Add an owner's rows to the model's open file, closing it when it is full.

        Raises what hinders a new file from being begun; the rows are then not taken.
        """
        segment = self._segments.get(columns.labels)
        if segment is None:
            segment = self._segments[columns.labels] = self._begin(columns)
        segment.pending.append(batch)
        segment.rows += batch.num_rows
        segment.waiting += batch.num_rows
        segment.owed[owner] += batch.num_rows
        if segment.rows >= self._rows_a_file:
            self._finish(columns.labels)
        elif segment.waiting >= ROWS_A_GROUP:
            try:
                _write_group(segment)
            except Exception as error:
                self._give_up(columns.labels, error)

    def report(self, lost: str, error: Exception) -> None:
        """Log that rows were lost, once until a file is complete again: how many they are is counted anyway."""
        if not self._failing:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            _log.error("the prediction log lost %s, and counts what else it loses: %s", lost, reason)
        self._failing = True

    def rotate(self, *, everything: bool) -> None:
        """Close the files that are old enough, or every one."""
        now = time.monotonic()
        for labels, segment in list(self._segments.items()):
            if everything or now - segment.begun >= self._age_seconds:
                self._finish(labels)

    def prune(self, keep_seconds: float, most_bytes: int) -> None:
        """Remove files older than `keep_seconds`, the oldest beyond `most_bytes`, and what a crash left unfinished."""
        if time.monotonic() < self._prune_at:
            return
        self._prune_at = time.monotonic() + PRUNE_SECONDS
        abandoned = time.time() - ABANDONED_SECONDS
        for status, path in _found(self._directory, f"*{UNFINISHED}"):
            if status.st_mtime < abandoned:
                path.unlink(missing_ok=True)
        found = _found(self._directory, "*.parquet")
        held, oldest_kept = sum(status.st_size for status, _ in found), time.time() - keep_seconds
        for status, path in found:
            if status.st_mtime >= oldest_kept and held <= most_bytes:
                break
            path.unlink(missing_ok=True)
            held -= status.st_size

    def _begin(self, columns: LogColumns) -> Segment:
        import pyarrow.parquet as pq

        self._count += 1
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        path = self._directory / f"{stamp}-{self._suffix}-{self._count:06d}.parquet"
        segment = Segment(path, None, time.monotonic(), [])
        try:
            segment.writer = pq.ParquetWriter(segment.unfinished, columns.schema, compression="zstd")
        except OSError:
            segment.unfinished.unlink(missing_ok=True)
            raise
        return segment

    def _finish(self, labels: tuple[str, str, str]) -> None:
        """Complete the file and give it its name; a file that cannot be completed is given up."""
        segment = self._segments[labels]
        try:
            _write_group(segment)
            segment.writer.close()
            segment.unfinished.rename(segment.path)
        except Exception as error:
            self._give_up(labels, error)
        else:
            self._end(labels, "written")
            if self._failing:
                _log.warning("the prediction log is written again")
            self._failing = False

    def _give_up(self, labels: tuple[str, str, str], error: Exception) -> None:
        """Drop a file in the making with all its rows: Arrow goes on with no file of which a write has failed."""
        segment = self._segments[labels]
        self.report(f"a file of {segment.rows} rows", error)
        with suppress(Exception):
            segment.writer.close()
        with suppress(OSError):
            segment.unfinished.unlink(missing_ok=True)
        self._end(labels, "dropped")

    def _end(self, labels: tuple[str, str, str], outcome: str) -> None:
        for owner, rows in self._segments.pop(labels).owed.items():
            self._settle(owner, outcome, rows)


def _found(directory: Path, pattern: str) -> list[tuple[os.stat_result, Path]]:
    """Return the files from the oldest on; another process may be removing some of them."""
    found = []
    for path in directory.glob(pattern):
        with suppress(FileNotFoundError):
            found.append((path.stat(), path))
    return sorted(found, key=lambda file: file[0].st_mtime)


def _write_group(segment: Segment) -> None:
    """Write what is pending as one row group."""
    if segment.pending:
        import pyarrow as pa

        segment.writer.write_table(pa.Table.from_batches(segment.pending))
        segment.pending.clear()
        segment.waiting = 0
