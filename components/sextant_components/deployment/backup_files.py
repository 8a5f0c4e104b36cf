"""The files of a backup: each is copied whole or not at all, whoever writes to it or is stopped meanwhile."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import BinaryIO

from sextant_plan.canonical import CHUNK_BYTES
from sextant_plan.errors import InfrastructureError
from sextant_plan.feedback import FEEDBACK_LOG
from sextant_plan.files import replacing

LEDGER_FOLDER = "ledger"
SQLITE_SUFFIX = ".db"
# What stands beside a database that is written to; of another moment than its copy, it would spoil it.
BESIDE_SQLITE = ("-wal", "-shm", "-journal")


def whole_files(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, or the file itself, but for locks and what is still being made."""
    if folder.is_file():
        yield folder
    for path in sorted(folder.rglob("*")):
        if path.is_file() and all(map(is_whole, path.relative_to(folder).parts)):
            yield path


def is_whole(name: str) -> bool:
    """Tell a file or folder by its name from locks, from what its writer has yet to rename, and from SQLite's own."""
    return not name.startswith(".") and not name.endswith((".lock", ".part", ".partial", *BESIDE_SQLITE))


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder's whole files, or the one file; nothing if it is not there."""
    for path in whole_files(source):
        copy_file(path, target / path.relative_to(source))


def copy_file(source: Path, target: Path) -> None:
    """Copy one file whole or not at all; one that its writer has removed since it was listed is left out.

    Of a log that is appended to, the whole lines are copied; of a SQLite database, what was committed at one moment.
    Raises InfrastructureError for a database that cannot be read.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError), replacing(target, durable=False) as partial:
        if source.suffix == SQLITE_SUFFIX:
            copy_sqlite(source, partial)
            return
        shutil.copy2(source, partial)
        if source.name == FEEDBACK_LOG or source.match(f"{LEDGER_FOLDER}/*.jsonl"):
            _cut_to_whole_lines(partial)


def copy_sqlite(source: Path, target: Path) -> None:
    """Copy a database as of one moment, whoever writes to it meanwhile. Raises InfrastructureError."""
    try:
        with (
            closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as origin,
            closing(sqlite3.connect(target)) as copy,
        ):
            origin.backup(copy)
    except sqlite3.Error as error:
        raise InfrastructureError(f"{source}: {error}. Is it a SQLite database, and the disk not full?") from error


def _cut_to_whole_lines(path: Path) -> None:
    """Take off a last line that was being written: whoever appends to it after a restore would spoil two."""
    with path.open("r+b") as file:
        file.truncate(_end_of_lines(file))


def _end_of_lines(file: BinaryIO) -> int:
    """Return the offset behind the last line feed, in bytes."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(end - CHUNK_BYTES, 0)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
