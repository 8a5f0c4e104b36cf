"""The drills on a feature store: an outage under a real server, and a restored copy that answers the same."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from PIL import Image

from sextant_components.data.features.feature_sources import ViewTable
from sextant_components.data.features.feature_store import STORES_VARIABLE, FeatureRepository
from sextant_components.deployment.backups import back_up_features, fingerprint_postgresql
from sextant_components.deployment.drills import feature_outage, restored
from sextant_components.deployment.drills.detectors import detector_of
from sextant_components.deployment.drills.stage import Stage
from sextant_components.deployment.replay import LiveRow
from sextant_plan.bundle import Column, read_bundle
from sextant_plan.drills import modes_of
from sextant_plan.promotion import ActiveModel
from sextant_plan.schema import Plan
from sextant_plan.types import DrillName

pytestmark = pytest.mark.filterwarnings("ignore")  # Feast and its imports warn of their own future

KEYS = [f"P-{number}" for number in range(5)]
COLUMNS = [Column(name="weight", default=2.0), Column(name="stock", view="shelves", default=-1.0)]
PLAN: dict[str, Any] = {
    "name": "parcels",
    "owner": {"team": "tests", "approvers": ["ada"]},
    "goal": {"business": "sort parcels", "why_ml": "no rule is known"},
    "criteria": [{"id": "accuracy", "metric": "accuracy", "at_least": 0.8}],
    "data": {
        "source": ".",
        "table": "table.csv",
        "entity": "parcel_id",
        "timestamp": "at",
        "licence": {"name": "CC0-1.0", "source": "none", "allows_training": True},
        "consent": {"basis": "none"},
    },
    "features": {"views": [{"name": "shelves", "source": "-", "timestamp": "at", "columns": ["stock"]}]},
    "model": {
        "task": "tabular-classification",
        "inputs": {"columns": ["weight"], "features": ["shelves:stock"]},
        "candidates": [{"architecture": "mlp"}],
    },
    "failure": [{"mode": "feature-store-down", "fallback": "default stock", "recover_within": "5m"}],
}


@pytest.fixture
def stage(tmp_path: Path, make_bundle: Callable[..., Path]) -> Stage:
    """A bundle that reads a stock from a store on files with five parcels, and rows that ask about them."""
    return stage_over(tmp_path, make_bundle)


def stage_over(tmp_path: Path, make_bundle: Callable[..., Path]) -> Stage:
    plan, folder = Plan.model_validate(PLAN), tmp_path / "feast"
    assert plan.features is not None
    now = datetime.now(UTC)
    events = pl.DataFrame(
        {"parcel_id": KEYS, "event_timestamp": [now - timedelta(hours=1)] * 5, "stock": [0.1, 0.2, 0.3, 0.4, 0.5]},
        schema_overrides={"event_timestamp": pl.Datetime("us", "UTC")},
    )
    store = FeatureRepository(plan, folder, [ViewTable(plan.features.views[0], events, "-", 0)])
    with store.locked():
        store.apply()
        store.materialise(until=now)
    bundle = make_bundle(columns=COLUMNS, entity="parcel_id", feature_service="parcels")
    spec = read_bundle(bundle)
    active = ActiveModel(
        name="parcels", version="1", digest=spec.digest, bundle=str(bundle), feature_repo=str(folder), sequence="-"
    )
    picture = io.BytesIO()
    Image.new("L", (8, 8), 100).save(picture, "PNG")
    rows = [LiveRow({"weight": 1.0, "parcel_id": key}, picture.getvalue(), "light") for key in KEYS]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return Stage(plan, tmp_path, active, spec, rows, scratch)


def test_an_outage_of_the_store_is_noticed_answered_by_the_fallback_and_over(stage: Stage) -> None:
    """No request fails, because the plan's fallback answers; the store in service keeps its tables."""
    drill = DrillName.FEATURE_STORE_DOWN
    online = Path(str(stage.active.feature_repo)) / "online.db"
    before = online.read_bytes()
    result = feature_outage.rehearse(stage, detector_of(stage.plan, drill, modes_of(stage.plan, drill)))
    assert result.detected_after is not None
    assert result.recovered_after is not None
    assert result.recovered_after > result.detected_after
    assert result.failed == 0 < result.requests
    assert online.read_bytes() == before


def test_a_restored_store_answers_as_the_lost_one_did(stage: Stage) -> None:
    """Every entity's features are compared."""
    drill = DrillName.RESTORE_FEATURES
    result = restored.rehearse_features(stage, detector_of(stage.plan, drill, []))
    assert result.recovered_after is not None
    assert result.facts["entities"] == len(KEYS)


def test_a_store_that_came_back_empty_fails_the_drill(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A restore that runs without an error proves nothing."""

    def lose_rows(repo: Path, target: Path) -> None:
        back_up_features(repo, target)
        import sqlite3
        from contextlib import closing

        with closing(sqlite3.connect(target / "online.db")) as database, database:
            for (table,) in database.execute("select name from sqlite_master where type = 'table'").fetchall():
                database.execute(f'delete from "{table}"')

    monkeypatch.setattr(restored, "back_up_features", lose_rows)
    result = restored.rehearse_features(stage, detector_of(stage.plan, DrillName.RESTORE_FEATURES, []))
    assert result.recovered_after is None


@pytest.mark.servers
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["redis", "postgres"])
def test_a_store_on_a_server_is_filled_again_beside_the_live_one(
    kind: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    make_bundle: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a project of the drill's own, which is gone afterwards; the live one is only read."""
    stores = tmp_path / "stores.yaml"
    stores.write_text(yaml.safe_dump({"online_store": request.getfixturevalue(kind)}), encoding="utf-8")
    monkeypatch.setenv(STORES_VARIABLE, str(stores))
    stage = stage_over(tmp_path, make_bundle)
    live = stage.feature_repo
    assert live is not None
    before = rows_in(live)
    result = restored.rehearse_features(stage, detector_of(stage.plan, DrillName.RESTORE_FEATURES, []))
    assert result.recovered_after is not None
    assert result.facts["entities"] == len(KEYS)
    assert rows_in(live) == before


def rows_in(repo: Path) -> list[Any]:
    """Return every key of a repository's Redis, or every table of its PostgreSQL with its rows."""
    online = yaml.safe_load((repo / "feature_store.yaml").read_text(encoding="utf-8"))["online_store"]
    if online["type"] == "redis":
        from redis import Redis

        host, _, port = online["connection_string"].partition(":")
        with Redis(host=host, port=int(port)) as client:
            return sorted((key, client.hgetall(key)) for key in client.scan_iter())
    address = f"postgresql://{online['user']}@{online['host']}:{online['port']}/{online['database']}"
    return sorted(fingerprint_postgresql(address).items())
