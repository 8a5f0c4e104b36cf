"""Files that other processes read while they are written, and locks that processes take in turn."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

POLL_SECONDS = 0.1


class LockHeld(Exception):
    """Another process kept the lock for as long as the caller would wait."""


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file in one step and on disk: a reader sees the old one or the new one, never a part."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


@contextmanager
def locked(path: Path, *, seconds: float | None = None) -> Iterator[None]:
    """Hold an exclusive lock on a file, which stays; the system frees it if the process ends.

    Waits for ever unless `seconds` are given; raises LockHeld after them, at once for 0.
    """
    with path.open("w") as file:
        if seconds is None:
            fcntl.flock(file, fcntl.LOCK_EX)
        else:
            _lock_within(file.fileno(), seconds)
        yield


def _lock_within(descriptor: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                raise LockHeld from error
        time.sleep(POLL_SECONDS)
