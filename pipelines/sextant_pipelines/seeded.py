"""The faults that the self-test of monitoring seeds: what is broken, and the gate or alert that has to say so."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from sextant_pipelines.belt import Belt, Parcel

if TYPE_CHECKING:
    import polars as pl

    from sextant_serving.launch import Server

HELD_SECONDS, FREE_SECONDS = 0.8, 0.04  # a slow server in turns: it stands still, then works as long as one answer
GRADUAL_SECONDS = 40.0  # until prices have doubled: one percent every 0.4 s


@dataclass(frozen=True)
class Caught:
    """One line of the result: `seconds` from the fault to the word, `rows` sent meanwhile where there were any."""

    fault: str
    expected: str
    found: str | None
    seconds: float
    rows: int | None = None

    @property
    def is_caught(self) -> bool:
        """Whether the gate or the alert that was expected has spoken."""
        return self.found == self.expected


@dataclass(frozen=True)
class Offline:
    """A fault of data or training; `gate` is the criterion that has to fail before anything is promoted."""

    slug: str
    name: str
    gate: str
    spoil: Callable[[str, pl.DataFrame], tuple[str, pl.DataFrame]]


def _noisy(plan: str, table: pl.DataFrame) -> tuple[str, pl.DataFrame]:
    """Give every third row the label of the row before it."""
    import polars as pl

    swapped = pl.when(pl.int_range(pl.len()) % 3 == 0).then(pl.col("label").shift(1, fill_value="book"))
    return plan, table.with_columns(swapped.otherwise(pl.col("label")).alias("label"))


def _untrained(plan: str, table: pl.DataFrame) -> tuple[str, pl.DataFrame]:
    """Let the learning rate be too small to learn anything."""
    return plan.replace("learning_rate: [3.0e-3, 5.0e-3]", "learning_rate: [1.0e-7, 2.0e-7]"), table


OFFLINE = (
    Offline("label-noise", "label noise: a third of the labels is wrong", "accuracy", _noisy),
    Offline("bad-model", "bad model: the network has learned nothing", "accuracy", _untrained),
)


Store = Literal["sound", "kilograms", "stale"]
"""An online store that holds the same parcels: as trained on, in other units, and not fed for a month."""


@dataclass(frozen=True)
class Live:
    """A fault of what is served: `begin` breaks the server or the belt for its block, or the store is broken."""

    name: str
    alert: str
    begin: Callable[[Server, Belt], AbstractContextManager[None]]
    store: Store = "sound"


def spoilt(measures: pl.DataFrame, store: Store) -> pl.DataFrame:
    """Return the measures as they have reached a store."""
    import polars as pl

    if store == "kilograms":
        return measures.with_columns(pl.col("weight_g") / 1000)
    if store == "stale":
        return measures.with_columns(pl.col("measured_at") - timedelta(days=30))
    return measures


def _with(parcel: Parcel, change: Mapping[str, str]) -> Parcel:
    return replace(parcel, row={**parcel.row, **change})


def _costlier(parcel: Parcel, factor: float) -> Parcel:
    price = parcel.row.get("price")
    return _with(parcel, {"price": f"{float(price) * factor:.2f}"}) if price else parcel


@contextmanager
def _sudden(_server: Server, belt: Belt) -> Iterator[None]:
    """Let every price double from one parcel to the next, as in another currency."""
    belt.change([_costlier(parcel, 2.0) for parcel in belt.supply])
    yield


@contextmanager
def _gradual(_server: Server, belt: Belt) -> Iterator[None]:
    """Let prices rise by and by until they have doubled."""
    rows = max(1, round(belt.pace * GRADUAL_SECONDS))
    risen = [_costlier(parcel, 1 + min(place / rows, 1.0)) for place, parcel in enumerate(belt.supply)]
    belt.change(risen + [_costlier(parcel, 2.0) for parcel in belt.supply])
    yield


@contextmanager
def _slow(server: Server, _belt: Belt) -> Iterator[None]:
    """Let the server's process stand still most of the time."""
    over = threading.Event()

    def hold() -> None:
        while not over.wait(FREE_SECONDS):
            os.kill(server.process.pid, signal.SIGSTOP)
            over.wait(HELD_SECONDS)
            os.kill(server.process.pid, signal.SIGCONT)

    holder = threading.Thread(target=hold, name="holder")
    holder.start()
    try:
        yield
    finally:
        over.set()
        holder.join()


@contextmanager
def _vanished(server: Server, _belt: Belt) -> Iterator[None]:
    """End the server, and with it the page of its metrics."""
    server.process.terminate()
    server.process.wait()
    yield


@contextmanager
def _as_it_is(_server: Server, _belt: Belt) -> Iterator[None]:
    """Change nothing more: the fault lies in the store that the server was started with."""
    yield


LIVE = (
    Live("sudden drift: every price doubles from one parcel to the next", "input-drift", _sudden),
    Live("gradual drift: prices double within 40 s", "input-drift", _gradual),
    Live(
        "train/serve skew: the store gives kilograms, grams were learned",
        "input-drift",
        _as_it_is,
        "kilograms",
    ),
    Live("stale features: nothing has reached the online store for a month", "freshness", _as_it_is, "stale"),
    Live("slow model: answers take longer than the plan allows", "latency", _slow),
    Live("vanished metrics: nobody answers the scrape", "SextantNoReadyServer", _vanished),
)
