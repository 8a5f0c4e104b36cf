"""The plugged-in point-in-time join against a slow one: duplicates, ties, zones, expiry."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import yaml

from sextant_serving.feast_import import import_feast

START = datetime(2026, 3, 1, tzinfo=UTC)
TTL = timedelta(hours=6)
STORE = "sextant_components.data.features.feast_asof.AsofOfflineStore"


def _events(rng: np.random.Generator) -> list[dict[str, Any]]:
    """Events of five entities on a grid of half hours, so that entity times fall before, on and after them."""
    grid = sorted(
        {(int(key), int(slot)) for key, slot in zip(rng.integers(0, 5, 60), rng.integers(0, 96, 60), strict=True)}
    )
    return [
        {"key": f"k{key}", "at": START + timedelta(minutes=30 * slot), "size": float(index), "word": f"w{index}"}
        for index, (key, slot) in enumerate(grid)
    ]


def _slowly(events: list[dict[str, Any]], key: str, at: datetime) -> tuple[float, str] | None:
    """Look at every event: the newest of the key that is neither later than `at` nor older than the ttl."""
    known = [event for event in events if event["key"] == key and at - TTL <= event["at"] <= at]
    newest = max(known, key=lambda event: event["at"], default=None)
    return (newest["size"], newest["word"]) if newest else None


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, list[dict[str, Any]]]:
    """A Feast store with the join plugged in, over one view, and the view's events."""
    import_feast()
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
    from feast.types import Float64, String

    folder: Path = tmp_path_factory.mktemp("asof")
    events = _events(np.random.default_rng(3))
    pl.DataFrame(events).write_parquet(folder / "events.parquet")
    settings = {
        "project": "asof",
        "provider": "local",
        "registry": str(folder / "registry.db"),
        "online_store": {"type": "sqlite", "path": str(folder / "online.db")},
        "offline_store": {"type": STORE},
        "entity_key_serialization_version": 3,
    }
    (folder / "feature_store.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    found = FeatureStore(repo_path=str(folder))
    entity = Entity(name="key", join_keys=["key"], value_type=ValueType.STRING)
    fields = [Field(name="key", dtype=String), Field(name="size", dtype=Float64), Field(name="word", dtype=String)]
    source = FileSource(name="events", path=str(folder / "events.parquet"), timestamp_field="at")
    views = [FeatureView(name="view", entities=[entity], ttl=TTL, schema=fields, source=source)]
    _twice(events).write_parquet(folder / "twice.parquet")
    source = FileSource(
        name="twice", path=str(folder / "twice.parquet"), timestamp_field="at", created_timestamp_column="made"
    )
    views.append(FeatureView(name="twice", entities=[entity], ttl=TTL, schema=fields[:2], source=source))
    found.apply([entity, *views])
    return found, events


def _twice(events: list[dict[str, Any]]) -> pl.DataFrame:
    """Return each event twice at one time, without a zone, the later made first: it is the correction."""
    late = pl.DataFrame(events).select("key", "size", pl.col("at").dt.replace_time_zone(None), made=pl.col("at") + TTL)
    return pl.concat([late, late.with_columns(pl.col("size") - 1000, made=pl.col("made") - TTL)])


@pytest.mark.parametrize(
    "stamp", ["datetime64[us, UTC]", "datetime64[ns, UTC]", "datetime64[ns, Asia/Tokyo]", "datetime64[us]"]
)
def test_every_row_gets_what_was_known_at_its_time(store: tuple[Any, list[dict[str, Any]]], stamp: str) -> None:
    """Equal to a search through all events, row by row and in order, whatever the type of the times."""
    feast, events = store
    rng = np.random.default_rng(4)
    keys = [f"k{key}" for key in rng.integers(0, 6, 300)]  # k5 has no event
    times = [START + timedelta(minutes=int(15 * slot)) for slot in rng.integers(0, 200, 300)]
    keys += keys[:20]  # rows that repeat others whole
    times += times[:20]
    frame = pd.DataFrame({"key": keys, "event_timestamp": pd.Series(times, dtype="datetime64[us, UTC]")})
    zone = stamp.partition(", ")[2].rstrip("]")
    aware = frame["event_timestamp"]
    frame["event_timestamp"] = (aware.dt.tz_convert(zone) if zone else aware.dt.tz_localize(None)).astype(stamp)
    joined = feast.get_historical_features(entity_df=frame, features=["view:size", "view:word"]).to_arrow()
    found = list(zip(joined["size"].to_pylist(), joined["word"].to_pylist(), strict=True))
    expected = [_slowly(events, key, at) or (None, None) for key, at in zip(keys, times, strict=True)]
    assert found == expected
    assert any(row == (None, None) for row in expected)
    assert joined["key"].to_pylist() == keys


def test_of_events_of_one_time_the_last_made_counts_and_a_time_without_a_zone_is_utc(
    store: tuple[Any, list[dict[str, Any]]],
) -> None:
    """The corrections are the events of the other view, so both views give the same, and no row comes twice."""
    feast, events = store
    times = [event["at"] + timedelta(minutes=10) for event in events]
    frame = pd.DataFrame({"key": [event["key"] for event in events], "event_timestamp": pd.Series(times)})
    frame["event_timestamp"] = frame["event_timestamp"].astype("datetime64[us, UTC]")
    features = ["view:size", "twice:size"]
    joined = feast.get_historical_features(entity_df=frame, features=features, full_feature_names=True).to_arrow()
    assert joined["twice__size"].to_pylist() == joined["view__size"].to_pylist() == [event["size"] for event in events]


def test_an_event_counts_up_to_and_including_its_expiry(store: tuple[Any, list[dict[str, Any]]]) -> None:
    """At the ttl exactly it is still known; a microsecond later it is not."""
    feast, events = store
    last = max((event for event in events if event["key"] == "k0"), key=lambda event: event["at"])
    times = pd.Series([last["at"] + TTL, last["at"] + TTL + timedelta(microseconds=1)], dtype="datetime64[us, UTC]")
    frame = pd.DataFrame({"key": ["k0", "k0"], "event_timestamp": times})
    joined = feast.get_historical_features(entity_df=frame, features=["view:size"]).to_arrow()
    assert joined["size"].to_pylist() == [last["size"], None]
