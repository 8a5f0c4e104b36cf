"""Whether a file is what it was: told by the file system, so that what has not changed is not read again."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

# A file that was written in the instant at which it was read may be written again without a new time; git waits so too.
SETTLED_NS = 2_000_000_000


class State(NamedTuple):
    """What the file system says of a file, by which a change is seen."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


def state_of(path: Path) -> State:
    """Return the file's state; raises OSError if it is not there."""
    found = path.stat()
    return State(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
