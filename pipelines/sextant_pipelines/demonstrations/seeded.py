"""The faults that the self-test of monitoring seeds: what is broken, and the gate or alert that has to say so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from sextant_components.deployment.drills.held_back import held_back
from sextant_pipelines.demonstrations.belt import Belt, Parcel

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

    from sextant_serving.launch import Server

SLOWER_SECONDS = 3.0  # a batch; the plan of the self-test allows 2 s for an answer, which a busy machine keeps too
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
class Scene:
    """What a fault befalls: a server, the belt that asks it, and the file that makes its network slower."""

    server: Server
    belt: Belt
    brake: Path


@dataclass(frozen=True)
class Live:
    """A fault of what is served: `begin` breaks the scene for its block, or the store is broken."""

    name: str
    alert: str
    begin: Callable[[Scene], AbstractContextManager[None]]
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
def _sudden(scene: Scene) -> Iterator[None]:
    """Let every price double from one parcel to the next, as in another currency."""
    scene.belt.change([_costlier(parcel, 2.0) for parcel in scene.belt.supply])
    yield


@contextmanager
def _gradual(scene: Scene) -> Iterator[None]:
    """Let prices rise by and by until they have doubled."""
    rows = max(1, round(scene.belt.pace * GRADUAL_SECONDS))
    risen = [_costlier(parcel, 1 + min(place / rows, 1.0)) for place, parcel in enumerate(scene.belt.supply)]
    scene.belt.change(risen + [_costlier(parcel, 2.0) for parcel in scene.belt.supply])
    yield


def _slow(scene: Scene) -> AbstractContextManager[None]:
    """Let the network take longer over every batch than the plan allows for an answer."""
    return held_back(scene.brake, SLOWER_SECONDS)


@contextmanager
def _vanished(scene: Scene) -> Iterator[None]:
    """End the server, and with it the page of its metrics."""
    scene.server.process.terminate()
    scene.server.process.wait()
    yield


@contextmanager
def _as_it_is(_scene: Scene) -> Iterator[None]:
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
