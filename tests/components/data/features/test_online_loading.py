"""Loading the online store: only what changed is written, nothing that arrives late is lost, on each kind of store."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from sextant_components.data.features import online_loading
from sextant_components.data.features.feature_sources import read_views
from sextant_components.data.features.feature_store import STORES_VARIABLE, FeatureRepository
from sextant_components.data.features.online_loading import OnlineView
from sextant_plan.errors import UsageError

pytestmark = pytest.mark.filterwarnings("ignore")  # Feast and its imports warn of their own future
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
UNTIL = NOON + 1000 * HOUR


@dataclass
class Loaded:
    """A repository over a table of events that a test changes, and how many events each load wrote."""

    workshop: Any
    folder: Path
    events: pl.DataFrame
    written: list[int] = field(default_factory=list)

    def load(self, *, breaks_after: int | None = None) -> FeatureRepository:
        """Write the events, bring repository and online store to them, and return it; the write may break off."""
        self.events.write_csv(self.workshop.data / "facts.csv")
        context = self.workshop.open()
        repository = _Counting(context.plan, self.folder, read_views(context.plan, context.data_root))
        repository.breaks_after = breaks_after
        with repository.locked():
            repository.apply()
            try:
                repository.materialise(until=UNTIL)
            finally:
                self.written.append(sum(repository.pieces))
        return repository

    def mass(self, repository: FeatureRepository, *items: str) -> list[float | None]:
        """Return what the online store says."""
        return repository.online(list(items), pl.DataFrame())["item_facts__mass"].to_list()


class _Counting(FeatureRepository):
    """The repository, counting what it writes, and breaking off where a test says so."""

    breaks_after: int | None = None

    def _online_view(self, table: Any) -> OnlineView:
        self.pieces: list[int] = []
        own = super()._online_view(table)

        def write(events: pl.DataFrame) -> None:
            if self.breaks_after is not None and len(self.pieces) >= self.breaks_after:
                raise ConnectionError("the store is away")
            own.write(events)
            self.pieces.append(events.height)

        return replace(own, write=write)


def _events(items: int = 40) -> pl.DataFrame:
    rows = [
        {"item": f"I-{item:03d}", "at": (NOON + hour * HOUR).isoformat(), "mass": float(100 * hour + item)}
        for item in range(items)
        for hour in (0, 1)
    ]
    return pl.DataFrame(rows)


def _event(item: str, hour: float, mass: float) -> pl.DataFrame:
    return pl.DataFrame({"item": [item], "at": [(NOON + hour * HOUR).isoformat()], "mass": [mass]})


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("redis", marks=pytest.mark.servers),
        pytest.param("postgres", marks=pytest.mark.servers),
    ]
)
def loaded(request: pytest.FixtureRequest, workshop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loaded:
    """A repository whose online store is the local one, or a real server named as a cluster names it."""
    workshop.plan["features"] = {
        "views": [{"name": "item-facts", "source": "facts.csv", "timestamp": "at", "columns": ["mass"], "ttl": "5h"}]
    }
    workshop.plan["model"]["inputs"]["features"] = ["item-facts:mass"]
    if request.param != "sqlite":
        settings = request.getfixturevalue(request.param)
        stores = tmp_path / "stores.yaml"
        stores.write_text(yaml.safe_dump({"online_store": settings}), encoding="utf-8")
        monkeypatch.setenv(STORES_VARIABLE, str(stores))
    return Loaded(workshop, tmp_path / "feast" / "shades", _events())


def test_a_second_load_writes_only_what_changed(loaded: Loaded) -> None:
    """Nothing for the same events, then the one newer event and the entity that is new."""
    loaded.load()
    loaded.load()
    loaded.events = pl.concat([loaded.events, _event("I-007", 2, 7.5), _event("I-900", -50, 9.5)])
    repository = loaded.load()
    assert loaded.written == [40, 0, 2]
    assert loaded.mass(repository, "I-006", "I-007", "I-900", "I-901") == [106.0, 7.5, 9.5, None]


def test_an_old_event_that_arrives_late_replaces_nothing(loaded: Loaded) -> None:
    """The newest event of an entity stays, whatever the order of arrival."""
    loaded.load()
    loaded.events = pl.concat([loaded.events, _event("I-007", 0.5, 7.5)])
    repository = loaded.load()
    assert loaded.written == [40, 0]
    assert loaded.mass(repository, "I-007") == [107.0]


def test_a_load_that_breaks_off_goes_on_where_it_stopped(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two pieces of ten are written, then the store is away; the next load writes the other twenty."""
    monkeypatch.setattr(online_loading, "PIECE_ROWS", 10)
    with pytest.raises(ConnectionError):
        loaded.load(breaks_after=2)
    repository = loaded.load()
    assert loaded.written == [20, 20]
    assert loaded.mass(repository, "I-000", "I-039") == [100.0, 139.0]
    loaded.load()
    assert loaded.written[-1] == 0


def test_a_value_that_is_corrected_under_its_own_time_is_served(loaded: Loaded) -> None:
    """Redis would keep the first value that it saw of a time."""
    loaded.load()
    loaded.events = pl.concat([loaded.events, _event("I-007", 1, 7.5)])
    repository = loaded.load()
    assert loaded.mass(repository, "I-006", "I-007") == [106.0, 7.5]


def test_an_event_that_is_taken_back_is_no_longer_served(loaded: Loaded) -> None:
    """Neither the newest event of an entity nor an entity stays in the store when the source has lost it."""
    loaded.load()
    gone = (pl.col("item") == "I-008") | ((pl.col("item") == "I-007") & (pl.col("at") == (NOON + HOUR).isoformat()))
    loaded.events = loaded.events.filter(~gone)
    repository = loaded.load()
    assert loaded.mass(repository, "I-006", "I-007", "I-008") == [106.0, 7.0, None]


def test_a_store_that_was_emptied_is_loaded_again(loaded: Loaded) -> None:
    """What was loaded once is not believed to be there still."""
    repository = loaded.load()
    repository._online_view(repository._tables[0]).clear()
    assert loaded.mass(repository, "I-007") == [None]
    assert loaded.mass(loaded.load(), "I-007") == [107.0]
    assert loaded.written == [40, 40]


def test_a_stores_file_that_sets_something_else_is_refused(
    loaded: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The offline store is Sextant's own: what trains must be joined in one way."""
    stores = tmp_path / "stores.yaml"
    stores.write_text("offline_store: {type: dask}\n", encoding="utf-8")
    monkeypatch.setenv(STORES_VARIABLE, str(stores))
    with pytest.raises(UsageError, match=r"stores\.yaml: sets \['offline_store'\]"):
        loaded.load()
