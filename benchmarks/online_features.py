"""Looking features up in the local online store: one entity, and a batch of 64, through the server's own lookup.

    python -m benchmarks.online_features [--entities 20000] [--features 10] [--lookups 2000]

The same lookup over Sextant's SQLite store and over Feast's own. They take turns of many lookups, so that a busy
machine slows both; the processor's time says what a free core would take.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import numpy as np
import polars as pl
import yaml

from sextant_serving.feast_import import import_feast

STORES = {"Sextant": "sextant_serving.feast_sqlite.RowSqliteOnlineStore", "Feast": "sqlite"}
BATCH = 64
TURNS = 10
WARM = 5  # first lookups of a turn, which fill Feast's one cache for all stores of a process


def _repository(folder: Path, kind: str, events: pl.DataFrame) -> None:
    """Make a Feast repository of one view over `events` and load it."""
    import_feast()
    from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, ValueType
    from feast.types import Float64, String

    folder.mkdir()
    events.write_parquet(folder / "events.parquet")
    settings = {
        "project": folder.name.lower(),
        "provider": "local",
        "registry": {
            "registry_type": "sql",
            "path": f"sqlite:///{folder / 'registry.db'}",
            "cache_ttl_seconds": 60,
        },
        "online_store": {"type": kind, "path": str(folder / "online.db")},
        "entity_key_serialization_version": 3,
    }
    (folder / "feature_store.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    names = [name for name in events.columns if name not in {"key", "event_timestamp"}]
    entity = Entity(name="key", join_keys=["key"], value_type=ValueType.STRING)
    fields = [Field(name="key", dtype=String), *(Field(name=name, dtype=Float64) for name in names)]
    source = FileSource(path=str(folder / "events.parquet"), timestamp_field="event_timestamp")
    view = FeatureView(name="view", entities=[entity], ttl=timedelta(days=2), schema=fields, source=source)
    store = FeatureStore(repo_path=str(folder))
    store.apply([entity, view, FeatureService(name="service", features=[view])])
    for piece in events.iter_slices(2000):
        store.write_to_online_store("view", piece.to_pandas())


def _lookup(folder: Path, names: Sequence[str]) -> Callable[[list[str]], Any]:
    from types import SimpleNamespace

    from sextant_plan.bundle import Column
    from sextant_serving.features import FeatureLookup

    columns = [Column(name=name, view="view") for name in names]
    spec: Any = SimpleNamespace(entity="key", feature_service="service", columns=columns)
    return FeatureLookup(folder, spec).lookup


def _time(call: Callable[[list[str]], Any], keys: list[str]) -> tuple[float, float]:
    """Return a lookup's milliseconds by the clock and of the processor."""
    start, cpu = time.perf_counter(), time.thread_time()
    found = call(keys)
    spent = (time.perf_counter() - start, time.thread_time() - cpu)
    assert len(found) == len(keys)
    assert None not in found
    return spent[0] * 1000, spent[1] * 1000


@click.command()
@click.option("--entities", default=20_000, show_default=True, help="Entities in the store.")
@click.option("--features", default=10, show_default=True, help="Features of the view, all of them numbers.")
@click.option("--lookups", default=2000, show_default=True, help="Lookups of each size.")
def main(entities: int, features: int, lookups: int) -> None:
    """Print the median and the 99th percentile of a lookup, and the processor's time, in milliseconds."""
    rng = np.random.default_rng(0)
    keys = [f"K-{key:07d}" for key in range(entities)]
    names = [f"f{index}" for index in range(features)]
    events = pl.DataFrame(
        {"key": keys, "event_timestamp": [datetime.now(UTC)] * entities}
        | {name: rng.normal(size=entities) for name in names}
    )
    times: dict[tuple[str, int], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        calls = {}
        for label, kind in STORES.items():
            _repository(Path(name, label), kind, events)
            calls[label] = _lookup(Path(name, label), names)
        for size, count in ((1, lookups), (BATCH, lookups // 4)):
            for label, call in [*calls.items()] * TURNS:
                for lookup in range(count // TURNS):
                    wanted = [keys[place] for place in rng.integers(0, entities, size)]
                    spent = _time(call, wanted)
                    if lookup >= WARM:
                        times.setdefault((label, size), []).append(spent)
    print(f"{entities:,} entities, {features} features; milliseconds of a lookup")
    for (label, size), both in times.items():
        spent, cpu = zip(*both, strict=True)
        tail = statistics.quantiles(spent, n=100)[98]
        print(
            f"{label:<8} {size:>3} entities: median {statistics.median(spent):6.3f}, 99th percentile {tail:6.3f}, "
            f"median of the processor's {statistics.median(cpu):6.3f}"
        )


if __name__ == "__main__":
    main()
