"""Servers' logs in an object store: shipped from each pod's own disk, and fetched where they are judged.

No volume is shared: a server whose disk hangs cannot answer, and a pod of another namespace could not mount it. Below
an address lie `predictions/DAY/FILE.parquet`, as the server completed them, and `feedback/DAY/TIME-POD-OFFSET.jsonl`,
whole lines of one server's feedback log from an offset on. DAY is that in the file's name, so that a window is found
without listing all that is kept. Nothing there is written twice.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from sextant_components.deployment.store_backups import each_at_once, opened, told
from sextant_monitoring.launcher import TimeWindow
from sextant_plan.feedback import FEEDBACK_LOGS
from sextant_plan.files import replacing, write_atomically
from sextant_plan.prediction_log import PREDICTION_LOG

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

LOGS_VARIABLE = "SEXTANT_LOGS"
SHIPPED = ".shipped"  # beside a feedback log: how many of its bytes are in the store
SEGMENT_BYTES = 1 << 26  # of feedback at a time, so that what gathered while the store was away is not read at once
# A file is named for its first row and holds those of a minute, or longer where a server is busy; and clocks differ.
SLACK = timedelta(minutes=10)
STAMP, STAMP_LENGTH, DAY_LENGTH = "%Y%m%dT%H%M%SZ", 16, 8


def ship_logs(folder: Path, address: str, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> int:
    """Put below an address what a server has completed in `folder`; return how many objects were put.

    Prediction files are removed once they are there; of `feedback/*.jsonl` the lines that have come since are put, and
    how far is noted beside the file. After an interruption a line may be there twice, which counts once. Raises
    StoreFailed.
    """
    with told(address):
        system, root = opened(address)
        return _ship_predictions(system, root, folder) + _ship_feedback(system, root, folder, now)


def _ship_predictions(system: AbstractFileSystem, root: str, folder: Path) -> int:
    put = 0
    for path in sorted((folder / PREDICTION_LOG).glob("*.parquet")):
        try:
            content = path.read_bytes()
        except FileNotFoundError:  # the server keeps its folder within the plan's bounds meanwhile
            continue
        system.pipe_file(f"{root}/{PREDICTION_LOG}/{path.name[:DAY_LENGTH]}/{path.name}", content)
        path.unlink(missing_ok=True)
        put += 1
    return put


def _ship_feedback(system: AbstractFileSystem, root: str, folder: Path, now: Callable[[], datetime]) -> int:
    put = 0
    for path in sorted((folder / FEEDBACK_LOGS).glob("*.jsonl")):
        noted = path.with_name(path.name + SHIPPED)
        offset = int(noted.read_text(encoding="ascii")) if noted.exists() else 0
        while lines := _whole_lines(path, offset):
            stamp = now().strftime(STAMP)
            system.pipe_file(
                f"{root}/{FEEDBACK_LOGS}/{stamp[:DAY_LENGTH]}/{stamp}-{path.stem}-{offset:012d}.jsonl", lines
            )
            offset += len(lines)
            write_atomically(noted, str(offset).encode("ascii"))
            put += 1
    return put


def _whole_lines(path: Path, offset: int) -> bytes:
    """Return lines from an offset on, without one that is being written."""
    with path.open("rb") as file:
        file.seek(offset)
        lines = file.read(SEGMENT_BYTES)
    return lines[: lines.rfind(b"\n") + 1]


def fetch_logs(address: str, folder: Path, windows: Collection[TimeWindow], *, now: float) -> None:
    """Have `folder` hold what was shipped of windows, with all labels that came from the first's beginning until `now`.

    What it holds of others is removed. Of an address at which nothing is, it holds nothing. Raises StoreFailed.
    """
    spans = {PREDICTION_LOG: windows, FEEDBACK_LOGS: [TimeWindow(min(each.start for each in windows), now)]}
    with told(address):
        system, root = opened(address)
        for part, wanted in spans.items():
            (folder / part).mkdir(parents=True, exist_ok=True)
            found = (path for span in wanted for path in _listed(system, f"{root}/{part}", span))
            listed = {path.rpartition("/")[2]: path for path in found}
            for path in (folder / part).iterdir():
                if path.name not in listed:
                    path.unlink()
            missing = [remote for name, remote in listed.items() if not (folder / part / name).exists()]
            each_at_once(partial(_fetch, system, into=folder / part), missing)


def _listed(system: AbstractFileSystem, root: str, span: TimeWindow) -> Iterator[str]:
    """Yield the files of a span of time, by the time in their names."""
    first, last = datetime.fromtimestamp(span.start, UTC) - SLACK, datetime.fromtimestamp(span.end, UTC) + SLACK
    for days in range((last.date() - first.date()).days + 1):
        day = (first + timedelta(days)).strftime(STAMP)[:DAY_LENGTH]
        for path in system.find(f"{root}/{day}"):
            stamp = str(path).rpartition("/")[2][:STAMP_LENGTH]
            if first.strftime(STAMP) <= stamp <= last.strftime(STAMP):
                yield str(path)


def _fetch(system: AbstractFileSystem, remote: str, *, into: Path) -> None:
    with replacing(into / remote.rpartition("/")[2], durable=False) as coming:
        system.get_file(remote, str(coming))


def address_of(base: str, model: str) -> str:
    """Return where the pods that serve a model ship their logs below an address."""
    return f"{base.rstrip('/')}/{model}"


@contextmanager
def logs_of(home: Path, model: str, windows: Collection[TimeWindow], *, now: float) -> Iterator[Path]:
    """Give the folder that holds a model's logs of windows for the block: the home, or what SEXTANT_LOGS has.

    Raises StoreFailed.
    """
    base = os.environ.get(LOGS_VARIABLE)
    if not base:
        yield home
        return
    with TemporaryDirectory(prefix="sextant-logs-") as scratch:
        fetch_logs(address_of(base, model), Path(scratch), windows, now=now)
        yield Path(scratch)
