"""A log of lines that are appended whole or not at all, whatever the disk has room for."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class WholeLines:
    """A file to append to, which the workers of a server share."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it; raises OSError."""
        self._file = path.open("ab", buffering=0)

    def append(self, lines: bytes) -> None:
        """Write all of `lines`; raises OSError, and then none of them is there."""
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
        with suppress(OSError):  # not every shared file system has locks
            fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            with suppress(OSError):
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
