"""The offline feature join of 1,000,000 entity rows and 10 features, beside a bare DuckDB ASOF JOIN.

    python -m benchmarks.feature_join [--rows 1000000] [--repeats 3] [--feast]

Each repeat runs every engine once, in turn, so that a busy machine slows all of them; the ratio is the median of
the repeats' ratios. `--feast` adds Feast's own DuckDB store, which needs some ten gigabytes of memory.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import numpy as np
import polars as pl

FEATURES = 10
EVENTS_AN_ENTITY = 20
START = datetime(2026, 1, 1, tzinfo=UTC)
TTL = timedelta(days=10)


def _tables(folder: Path, rows: int) -> tuple[pl.DataFrame, Path]:
    rng = np.random.default_rng(0)
    keys, span = max(1, rows // EVENTS_AN_ENTITY), 30 * 86400
    events = pl.DataFrame(
        {
            "key": [f"K-{key:07d}" for key in rng.integers(0, keys, rows)],
            "event_timestamp": [START + timedelta(seconds=int(s)) for s in rng.integers(0, span, rows)],
            **{f"f{index}": rng.normal(size=rows) for index in range(FEATURES)},
        }
    ).unique(["key", "event_timestamp"])
    path = folder / "events.parquet"
    events.write_parquet(path)
    entities = pl.DataFrame(
        {
            "key": [f"K-{key:07d}" for key in rng.integers(0, keys, rows)],
            "event_timestamp": [START + timedelta(seconds=int(s)) for s in rng.integers(0, span, rows)],
            "row_id": np.arange(rows),
        }
    )
    return entities, path


def _store(folder: Path, events: Path, kind: str) -> Callable[[pl.DataFrame], int]:
    """Return a call that joins through a Feast store with the given offline store, and gives its number of rows."""
    import yaml
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
    from feast.types import Float64, String

    repo = folder / kind.rpartition(".")[2]
    repo.mkdir()
    settings = {
        "project": "bench",
        "provider": "local",
        "registry": str(repo / "registry.db"),
        "online_store": {"type": "sqlite", "path": str(repo / "online.db")},
        "offline_store": {"type": kind},
        "entity_key_serialization_version": 3,
    }
    (repo / "feature_store.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    store = FeatureStore(repo_path=str(repo))
    entity = Entity(name="key", join_keys=["key"], value_type=ValueType.STRING)
    fields = [Field(name="key", dtype=String), *(Field(name=f"f{index}", dtype=Float64) for index in range(FEATURES))]
    source = FileSource(name="events", path=str(events), timestamp_field="event_timestamp")
    store.apply([entity, FeatureView(name="view", entities=[entity], ttl=TTL, schema=fields, source=source)])
    names = [f"view:f{index}" for index in range(FEATURES)]

    def join(entities: pl.DataFrame) -> int:
        frame = entities.to_pandas()
        return int(store.get_historical_features(entity_df=frame, features=names).to_arrow().num_rows)

    return join


def _bare(events: Path) -> Callable[[pl.DataFrame], int]:
    import duckdb

    def join(entities: pl.DataFrame) -> int:
        frame = entities.to_pandas()
        columns = ", ".join(
            f"CASE WHEN f.event_timestamp >= e.event_timestamp - INTERVAL 10 DAYS THEN f{i} END"
            for i in range(FEATURES)
        )
        with duckdb.connect() as connection:
            connection.register("entities", frame)
            query = (
                f"SELECT e.*, {columns} FROM entities e ASOF LEFT JOIN read_parquet('{events}') f "  # noqa: S608
                "ON e.key = f.key AND e.event_timestamp >= f.event_timestamp"
            )
            return int(connection.sql(query).to_arrow_table().num_rows)

    return join


@click.command()
@click.option("--rows", default=1_000_000, show_default=True, help="Entity rows, and events.")
@click.option("--repeats", default=3, show_default=True, help="Runs of each engine.")
@click.option("--feast/--no-feast", default=False, help="Also run Feast's own DuckDB store.")
def main(rows: int, repeats: int, *, feast: bool) -> None:
    """Print seconds and ratios to the bare join."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        entities, events = _tables(folder, rows)
        engines = {
            "bare DuckDB ASOF": _bare(events),
            "Sextant": _store(folder, events, "sextant_components.data.features.feast_asof.AsofOfflineStore"),
        }
        if feast:
            engines["Feast DuckDB"] = _store(folder, events, "duckdb")
        seconds: dict[str, list[float]] = {engine: [] for engine in engines}
        for _ in range(repeats):
            for engine, join in engines.items():
                start = time.perf_counter()
                found = join(entities)
                seconds[engine].append(time.perf_counter() - start)
                assert found == rows, f"{engine} gave {found} rows for {rows}"
    print(f"{rows:,} entity rows, {FEATURES} features, {repeats} repeats")
    bare = seconds["bare DuckDB ASOF"]
    for engine, times in seconds.items():
        ratio = statistics.median(own / base for own, base in zip(times, bare, strict=True))
        print(f"{engine:<18} {statistics.median(times):7.2f} s  {ratio:5.2f} x")


if __name__ == "__main__":
    main()
