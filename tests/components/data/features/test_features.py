"""Features: joined as of each row's time, never from its future, and the same online."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sextant_components.data.features.feature_sources import EVENT_TIME, ViewTable, read_views
from sextant_components.data.features.feature_store import FeatureRepository
from sextant_components.data.features.point_in_time import as_of
from sextant_components.data.features.prepare_features import PreparedFeatures, record_parity
from sextant_components.data.ingest import run_ingest
from sextant_components.data.prepare import run_prepare
from sextant_components.data.tables import read_columns, read_features, read_rows, read_split, read_splits_info
from sextant_components.data.verify import run_verify
from sextant_components.runs.context import Step
from sextant_plan.errors import DataError
from sextant_plan.schema import FeatureView
from sextant_plan.verdicts import Verdict
from sextant_serving.feast_import import import_feast

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
TTL_HOURS = 5


def _events(rows: int = 60) -> pl.DataFrame:
    """Return two events an item: one an hour before the item is seen, one an hour after; item 0 has none."""
    events = [
        {"item": f"I-{row:03d}", "at": (NOON + timedelta(hours=row) + shift).isoformat(), "mass": value, "lane": lane}
        for row in range(1, rows)
        for shift, value, lane in ((-HOUR, float(row), "a"), (HOUR, 1000.0 + row, "b"))
        if not (row % 2 and shift > timedelta(0))
    ]
    return pl.DataFrame(events)


@pytest.fixture
def stocked(workshop: Any) -> Any:
    """The workshop with a view of two features; even items have an event from their future."""
    workshop.plan["features"] = {
        "views": [
            {
                "name": "item-facts",
                "source": "facts.csv",
                "timestamp": "at",
                "columns": ["mass", "lane"],
                "ttl": f"{TTL_HOURS}h",
            }
        ]
    }
    workshop.plan["model"]["inputs"]["features"] = ["item-facts:mass", "item-facts:lane"]
    _events().write_csv(workshop.data / "facts.csv")
    return workshop


def _prepare(workshop: Any) -> Any:
    context = workshop.open()
    paths = {"snapshot": context.run / "s", "verified": context.run / "v"}
    run_ingest(context, snapshot=paths["snapshot"])
    run_verify(context, **paths)
    run_prepare(context, **paths, splits=context.run / "p")
    return context


def test_a_run_joins_loads_and_proves_its_features(stocked: Any, records: Any) -> None:
    """No row has a value from its future, and what is comparable online is equal."""
    context = _prepare(stocked)
    items = read_rows(context.run / "s").select("row_id", "item")
    found = read_features(context.run / "p")
    assert found is not None
    numbers = dict(items.join(found, on="row_id").select("item", "mass").iter_rows())
    assert numbers == {f"I-{row:03d}": float(row) if row else None for row in range(60)}
    record = records(context, "prepare")
    assert record["point-in-time join"].value["differing"] == 0
    assert record["train/serve parity"].value == {"rows": 30, "differing": 0}
    assert record["train/serve parity"].verdict is Verdict.PASS
    columns = read_columns(context.run / "p")
    assert [(column.name, column.view) for column in columns[2:]] == [("mass", "item_facts"), ("lane", "item_facts")]
    assert columns[3].vocabulary == ["a"]
    assert read_split(context.run / "p", "train")["mass"].null_count() == 0


def test_an_event_that_arrives_late_is_served_after_the_next_run(stocked: Any) -> None:
    """An event older than the last load still reaches the online store, and the registry serves both runs."""
    info = read_splits_info(_prepare(stocked).run / "p")
    late = {"item": "I-000", "at": (NOON - HOUR).isoformat(), "mass": 77.0, "lane": "a"}
    pl.concat([_events(), pl.DataFrame([late])]).write_csv(stocked.data / "facts.csv")
    again = _prepare(stocked)
    assert read_splits_info(again.run / "p").feature_repo == info.feature_repo
    assert info.feature_repo is not None
    from feast import FeatureStore

    store = FeatureStore(repo_path=info.feature_repo)
    answer = store.get_online_features(
        features=store.get_feature_service(str(info.feature_service)), entity_rows=[{"item": "I-000"}]
    ).to_dict()
    assert answer["mass"] == [77.0]


@pytest.mark.filterwarnings("ignore")  # Feast and its imports warn of their own future
def test_repositories_of_one_name_keep_their_own_views_in_one_process(tmp_path: Path) -> None:
    """Feast remembers views by the memory address of what it read, which the next reading may have got."""
    feast = import_feast()
    from feast.infra.registry.proto_registry_utils import list_feature_views
    from feast.types import Float64, String

    item = feast.Entity(name="item", join_keys=["item"], value_type=feast.ValueType.STRING)
    registries = []
    for columns in (("mass",), ("mass", "lane")):
        config = feast.RepoConfig(
            project="shades",
            provider="local",
            registry={"registry_type": "sql", "path": f"sqlite:///{tmp_path}/{len(columns)}.db"},
            online_store={"type": "sqlite", "path": str(tmp_path / "online.db")},
            entity_key_serialization_version=3,
        )
        store = feast.FeatureStore(config=config)
        fields = [feast.Field(name="item", dtype=String), *(feast.Field(name=name, dtype=Float64) for name in columns)]
        source = feast.FileSource(name="facts", path=str(tmp_path / "facts.parquet"), timestamp_field="at")
        store.apply([item, feast.FeatureView(name="facts", entities=[item], schema=fields, source=source)])
        registries.append(store.registry)

    def columns_of(reading: Any) -> set[str]:
        (view,) = list_feature_views(reading, "shades", None)
        return {feature.name for feature in view.features}

    first, second = registries
    kept: list[Any] = []
    reading = first.proto()
    address = id(reading)
    assert columns_of(reading) == {"mass"}
    del reading
    while id(reading := second.proto()) != address and len(kept) < 100:
        kept.append(reading)  # nearly always the first reading gets the address
    assert columns_of(reading) == {"mass", "lane"}


def test_importing_feast_leaves_torch_and_typeguard_as_they_were() -> None:
    """What the import hides is hidden only while it runs."""
    import typeguard

    before = typeguard.typechecked
    assert import_feast() is sys.modules["feast"]
    assert typeguard.typechecked is before
    assert before.__module__.startswith("typeguard")
    assert sys.modules.get("torch", sys) is not None


def _slow(keys: pl.DataFrame, events: list[dict[str, Any]], ttl: timedelta) -> list[float | None]:
    """Return the last event at or before each key within the ttl; of equal times the later line."""
    values: list[float | None] = []
    for key in keys.to_dicts():
        known = [
            (event["at"], place)
            for place, event in enumerate(events)
            if event["item"] == key["item"] and key[EVENT_TIME] - ttl <= event["at"] <= key[EVENT_TIME]
        ]
        values.append(events[max(known)[1]]["mass"] if known else None)
    return values


EVENTS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 14)), min_size=1, max_size=40)
KEYS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 20)), min_size=1, max_size=40)


def _random_case(
    events: list[tuple[int, int]], keys: list[tuple[int, int]]
) -> tuple[list[dict[str, Any]], pl.DataFrame]:
    rows = [
        {"item": f"I-{item}", "at": NOON + hour * HOUR, "mass": float(place)}
        for place, (item, hour) in enumerate(events)
    ]
    table = pl.DataFrame(
        {
            "row_id": list(range(len(keys))),
            "item": [f"I-{item}" for item, _ in keys],
            EVENT_TIME: [NOON + hour * HOUR for _, hour in keys],
        }
    ).with_columns(pl.col(EVENT_TIME).dt.cast_time_unit("us"))
    return rows, table


def _view(rows: list[dict[str, Any]]) -> ViewTable:
    view = FeatureView(name="item-facts", source="facts.csv", timestamp="at", columns=["mass"], ttl=TTL_HOURS * 3600.0)
    table = pl.DataFrame(rows).rename({"at": EVENT_TIME}).with_columns(pl.col(EVENT_TIME).dt.cast_time_unit("us"))
    single = table.unique(["item", EVENT_TIME], keep="last", maintain_order=True).sort("item", EVENT_TIME)
    return ViewTable(view, single, "sha256:0", table.height - single.height)


@given(events=EVENTS, keys=KEYS)
def test_the_as_of_join_equals_a_slow_search(events: list[tuple[int, int]], keys: list[tuple[int, int]]) -> None:
    """Ties, repeated keys and events past their ttl included."""
    rows, table = _random_case(events, keys)
    found = as_of(table, _view(rows), "item")["item_facts__mass"].to_list()
    assert found == _slow(table, rows, timedelta(hours=TTL_HOURS))


def test_feasts_join_equals_a_slow_search(stocked: Any, tmp_path: Path) -> None:
    """The join that training uses, over ties and rows that repeat an entity and time, none lost."""
    events = [((7 * n) % 4, (5 * n) % 15) for n in range(60)]
    keys = [((3 * n) % 5, (11 * n) % 21) for n in range(80)] + [(1, 9)] * 3
    rows, table = _random_case(events, keys)
    facts = pl.DataFrame(rows).with_columns(pl.lit("a").alias("lane"))
    facts.write_csv(stocked.data / "facts.csv")
    context = stocked.open()
    views = read_views(context.plan, context.data_root)
    repository = FeatureRepository(context.plan, tmp_path / "feast" / "shades", views)
    with repository.locked():
        repository.apply()
        joined = repository.join(table.reverse(), pl.DataFrame())
    assert views[0].replaced > 0
    assert joined["item_facts__mass"].to_list() == _slow(table.reverse(), rows, timedelta(hours=TTL_HOURS))


def test_parity_fails_when_the_online_store_differs(stocked: Any, tmp_path: Path) -> None:
    """One other number online is seen."""
    context = stocked.open()
    views = read_views(context.plan, context.data_root)
    joined = pl.DataFrame({"item_facts__mass": [1.0, 2.0, None]})
    repository = FeatureRepository(context.plan, tmp_path / "f", views)
    same = PreparedFeatures(repository, joined, [0, 1], joined[[0, 1]])
    from sextant_plan.bundle import Column

    columns = [Column(name="mass", view="item_facts")]
    for features, verdict in (
        (same, Verdict.PASS),
        (replace(same, online=pl.DataFrame({"item_facts__mass": [1.0, 2.5]})), Verdict.FAIL),
        (replace(same, compared=[]), Verdict.UNKNOWN),
    ):
        with context.ledger(Step.PREPARE) as ledger:
            record_parity(ledger, features, columns)
        assert ledger.verdict is verdict


def test_two_runs_of_one_plan_take_turns(stocked: Any, tmp_path: Path) -> None:
    """Whoever comes second waits until the first has left."""
    plan = stocked.open().plan
    seen: list[str] = []
    inside = threading.Event()

    def second() -> None:
        inside.wait()
        with FeatureRepository(plan, tmp_path / "f", []).locked():
            seen.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with FeatureRepository(plan, tmp_path / "f", []).locked():
        inside.set()
        thread.join(timeout=0.3)
        seen.append("first")
    thread.join()
    assert seen == ["first", "second"]


@pytest.mark.parametrize(
    ("rename", "message"),
    [
        ({"mass": "masss"}, r"facts\.csv: there is no column mass, .*features\.views\.item-facts\.columns.*masss\?"),
        ({"item": "parcel"}, r"there is no column item, which data\.entity names"),
        ({"at": "time"}, r"there is no column at, which features\.views\.item-facts\.timestamp names"),
    ],
    ids=["feature", "entity", "time"],
)
def test_an_absent_feature_column_is_named(stocked: Any, rename: dict[str, str], message: str) -> None:
    """File, column and the plan's key are in the message."""
    _events().rename(rename).write_csv(stocked.data / "facts.csv")
    context = stocked.open()
    with pytest.raises(DataError, match=message):
        read_views(context.plan, context.data_root)


def test_a_feature_name_that_feast_would_drop_is_refused(stocked: Any) -> None:
    """Feast's join silently takes names that end in _y for its own."""
    view = stocked.plan["features"]["views"][0]
    view["columns"] = ["mass_y"]
    stocked.plan["model"]["inputs"]["features"] = ["item-facts:mass_y"]
    _events().rename({"mass": "mass_y"}).write_csv(stocked.data / "facts.csv")
    context = stocked.open()
    with pytest.raises(DataError, match="the feature mass_y has a name that the join needs for itself"):
        read_views(context.plan, context.data_root)
