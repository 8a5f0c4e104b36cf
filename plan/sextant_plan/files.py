"""Files that other processes read while they are written, and locks that processes take in turn."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

POLL_SECONDS = 0.1


class LockHeld(Exception):
    """Another process kept the lock for as long as the caller would wait."""


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file in one step and on disk: a reader sees the old one or the new one, never a part."""
    with replacing(path) as partial:
        partial.write_bytes(data)


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Give a path to write at, beside `path`, which takes its place in one step once the block ends.

    If the block fails, what it wrote is removed and `path` stays as it was. The content is on disk before the step
    unless `durable` is false, for what a reader can tell from whole content and make again.
    """
    # Not the process id: containers that share a volume have the same ones.
    partial = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        yield partial
        if durable:
            _sync(partial)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
