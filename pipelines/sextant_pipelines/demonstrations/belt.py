"""Parcels on their way past a camera: rows of a table sent to a server one after the other, at a steady pace."""

from __future__ import annotations

import csv
import http.client
import io
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path

from sextant_plan.files import write_atomically
from sextant_serving.client import Client, Refused

LABEL = "label"
TIMEOUT = 30.0  # seconds; beyond every deadline of a plan, so that a slow server is slow and not lost
NOT_SENT = ("image", "event_time", LABEL)  # the camera sends the picture itself; the others are known later


@dataclass(frozen=True)
class Parcel:
    """One row of the table as it was drawn, and its picture's file if it has one."""

    row: dict[str, str]
    picture: Path | None

    @property
    def fields(self) -> dict[str, str]:
        """What goes with the picture in a request."""
        return {name: value for name, value in self.row.items() if name not in NOT_SENT and value}


@dataclass
class Belt:
    """Sends parcels to `url` from `senders` threads; `pace` is in parcels a second over all of them, at most.

    With `labelled`, each answered parcel's true label goes to the server's feedback at once, as if it had been checked
    by hand. `sent` keeps every answered parcel of the current supply with its Unix time. Use as a context manager.
    """

    url: str
    supply: Sequence[Parcel]
    pace: float
    labelled: bool = False
    senders: int = 1
    sent: list[tuple[Parcel, float]] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    _front: str | None = None

    def __enter__(self) -> Belt:
        self._coming: Iterator[Parcel] = cycle(self.supply)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, name="belt", daemon=True) for _ in range(self.senders)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def change(self, supply: Sequence[Parcel]) -> None:
        """Let other parcels come from now on."""
        with self._lock:
            self.supply, self._coming, self.sent = supply, cycle(supply), []

    def go_through(self, front: str | None) -> None:
        """Send to another address from now on, until it closes; None goes back to `url`."""
        self._front = front

    def past(self) -> list[tuple[Parcel, float]]:
        """Return the parcels that have passed since the supply changed, each once, with their times."""
        with self._lock:
            return self.sent[: len(self.supply)]

    def _run(self) -> None:
        clients: dict[str, Client] = {}
        while not self._stop.wait(self.senders / self.pace):
            with self._lock:
                parcel = next(self._coming)
            address = self._front or self.url
            picture = parcel.picture.read_bytes() if parcel.picture is not None else None
            try:
                self._send(clients.setdefault(address, Client(address, timeout=TIMEOUT)), parcel, picture)
            except Refused as refusal:
                self.statuses[str(refusal.status)] += 1
            except (OSError, http.client.HTTPException):
                # A front that has done its work is closed; the parcel goes by the server that stays.
                self.statuses["moved" if self._front else "lost"] += 1
                self._front = None
        for client in clients.values():
            client.close()

    def _send(self, client: Client, parcel: Parcel, picture: bytes | None) -> None:
        if picture is None:
            client.predict_v1([parcel.fields])
        else:
            client.infer_picture(picture, parcel.fields)
        self.statuses["200"] += 1
        with self._lock:
            self.sent.append((parcel, time.time()))
        if self.labelled and client.prediction_id is not None:
            client.send_feedback(client.prediction_id, parcel.row[LABEL])


def read_parcels(folder: Path) -> list[Parcel]:
    """Return the rows of a folder's table.csv in its order."""
    with (folder / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    pictures = folder / "images"
    return [Parcel(row, pictures / row["image"] if pictures.is_dir() else None) for row in rows]


def write_table(data: Path, rows: Sequence[tuple[Parcel, float | None]]) -> None:
    """Let the data's table hold these parcels with label and picture, each at its Unix time or as it was drawn."""
    images, text = data / "images", io.StringIO()
    images.mkdir(parents=True, exist_ok=True)
    writer = csv.DictWriter(text, list(rows[0][0].row), lineterminator="\n")
    writer.writeheader()
    for parcel, moment in rows:
        assert parcel.picture is not None, "a table with pictures is written of parcels that have one"
        month = parcel.picture.parent.parent.name
        name = f"{month}-{parcel.picture.name}"
        if not (images / name).exists():
            (images / name).hardlink_to(parcel.picture)
        seen = {} if moment is None else {"event_time": _text(moment)}
        writer.writerow({**parcel.row, "image": name, **seen})
    write_atomically(data / "table.csv", text.getvalue().encode())


def _text(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
