"""A log of lines that are appended whole or not at all, whatever the disk has room for."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TRIES, PAUSE = 40, 5e-4  # seconds between tries: 20 ms in all, on the event loop; a worker that runs takes far less


class WholeLines:
    """A file to append to, which the workers of a server share."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it; raises OSError."""
        self._file = path.open("ab", buffering=0)

    def append(self, lines: bytes) -> None:
        """Write all of `lines`, within milliseconds; raises OSError, and then none of them is there.

        So it does where another worker appends all the while: one that hangs must not hold up the others' clients.
        """
        file = self._file.fileno()
        with self._alone():
            end, left = os.fstat(file).st_size, memoryview(lines)
            try:
                while left:
                    left = left[os.write(file, left) :]
            except OSError:
                with suppress(OSError):  # a pipe or a terminal, of which nothing can be taken back
                    os.ftruncate(file, end)
                raise

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other workers from appending, so that what is taken back is none of theirs."""
        self._lock()
        try:
            yield
        finally:
            with suppress(OSError):
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def _lock(self) -> None:
        for _ in range(TRIES):
            try:
                return fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(PAUSE)
            except OSError:
                return None  # not every shared file system has locks
        raise BlockingIOError(errno.EWOULDBLOCK, "another worker keeps it locked")

    def close(self) -> None:
        """Close the file."""
        self._file.close()
