"""Features loaded between two runs, and the stores of a cluster as the manifests name them."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from tests.programs import free_port, wait_until_reached

from sextant_components.data.features.feature_store import STORES_VARIABLE
from sextant_pipelines.cli import main
from sextant_plan.loading import load_plan
from sextant_serving.feast_import import import_feast

# Feast takes seconds to import and warns of its own future; its feature server is another process that imports it.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[4]
MANIFESTS = ROOT / "manifests"
PLAN = MANIFESTS / "overlays" / "kubeflow" / "plan.yaml"
MORNING = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)


def measured(folder: Path, *events: tuple[str, datetime, float]) -> None:
    """Write the parcels' table of measures: each event's parcel, time and weight."""
    parcels, times, weights = zip(*events, strict=True)
    size = [10.0] * len(events)
    columns = {"weight_g": weights, "length_cm": size, "width_cm": size, "height_cm": size}
    (folder / "data").mkdir(exist_ok=True)
    pl.DataFrame({"parcel_id": parcels, "measured_at": times, **columns}).write_parquet(
        folder / "data" / "measures.parquet"
    )


def load(folder: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Load as the CronJob does; return each view's newest event as it is printed."""
    options = [f"--data={folder}", f"--home={folder / 'home'}", "--json"]
    capsys.readouterr()
    assert main(["features", "load", str(PLAN), *options]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_plan_without_features_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = ROOT / "examples" / "tiny" / "plan.yaml"
    assert main(["features", "load", str(plan), "--home", str(tmp_path)]) == 2
    assert "has no features" in capsys.readouterr().err


def weights(repo: Path, *parcels: str) -> list[float | None]:
    """Ask the store of a repository, by Feast alone."""
    store = import_feast().FeatureStore(repo_path=str(repo))
    found = store.get_online_features(
        features=["parcel_measures:weight_g"], entity_rows=[{"parcel_id": parcel} for parcel in parcels]
    )
    values: list[float | None] = found.to_dict()["weight_g"]
    return values


@pytest.fixture
def stores(redis: dict[str, Any], postgres: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Redis and PostgreSQL with the databases that the manifests make, under the names of the Secret feast-stores."""
    settings = yaml.safe_load((MANIFESTS / "components" / "postgres" / "configmap.yaml").read_text("utf-8"))
    server = f"{postgres['user']}@{postgres['host']}:{postgres['port']}"
    made = subprocess.run(
        ["psql", f"postgresql://{server}/postgres", "-q"],
        input=settings["data"]["databases.sql"], capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert made.stderr == ""
    monkeypatch.setenv("FEAST_REGISTRY", f"postgresql+psycopg://{server}/feast")
    monkeypatch.setenv("FEAST_ONLINE", redis["connection_string"])
    monkeypatch.setenv(STORES_VARIABLE, str(MANIFESTS / "overlays" / "kubeflow" / "stores.yaml"))
    yield
    from sqlalchemy import Engine

    for engine in [found for found in gc.get_objects() if type(found) is Engine]:
        engine.dispose()  # Feast keeps its registry's connections, and has no call that closes them


@contextmanager
def feature_server() -> Iterator[str]:
    """The feature server as its Deployment starts it, on a port of this machine."""
    deployment = yaml.safe_load((MANIFESTS / "components" / "feast" / "deployment.yaml").read_text("utf-8"))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    settings, port = MANIFESTS / "components" / "feast", free_port()
    changed = {"/etc/feast": str(settings), "0.0.0.0": "127.0.0.1", "6566": str(port)}
    words = [changed.get(word, word) for word in [*container["command"], *container["args"]] if word != "--metrics"]
    process = subprocess.Popen(
        [Path(sys.executable).with_name(words[0]), *words[1:]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        wait_until_reached(process, port, seconds=300)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # its workers, too
        process.wait()


@pytest.mark.servers
def test_the_stores_of_a_cluster_are_loaded_and_read(
    stores: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the CronJob loads, Feast reads by the servers' settings, and its feature server answers with.

    A newer event replaces the one that servers read, without a run in between.
    """
    measured(tmp_path, ("P-1", MORNING, 100.0), ("P-2", MORNING, 150.0))
    assert load(tmp_path, capsys) == {"parcel_measures": MORNING.isoformat()}
    later = MORNING + timedelta(minutes=5)
    measured(tmp_path, ("P-1", MORNING, 100.0), ("P-2", MORNING, 150.0), ("P-2", later, 200.0))
    assert load(tmp_path, capsys) == {"parcel_measures": later.isoformat()}
    assert not (tmp_path / "home" / "feast" / "parcel-labelling" / "online.db").exists()
    assert weights(MANIFESTS / "components" / "feast", "P-1", "P-2", "P-3") == [100.0, 200.0, None]
    service = load_plan(PLAN).name.replace("-", "_")
    with feature_server() as url:
        body = json.dumps({"feature_service": service, "entities": {"parcel_id": ["P-2"]}}).encode()
        request = urllib.request.Request(
            f"{url}/get-online-features", body, {"content-type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            found = json.load(answer)
    assert found["metadata"]["feature_names"][0] == "parcel_id"
    assert [200.0] in [result["values"] for result in found["results"]]


@pytest.mark.servers
def test_an_emptied_redis_is_filled_by_the_next_load(
    stores: None, redis: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody has to tell it that the store was lost."""
    from redis import Redis

    measured(tmp_path, ("P-1", MORNING, 100.0), ("P-2", MORNING, 200.0))
    load(tmp_path, capsys)
    host, _, port = redis["connection_string"].partition(":")
    with Redis(host=host, port=int(port)) as client:
        client.flushall()
    settings = MANIFESTS / "components" / "feast"
    assert weights(settings, "P-1") == [None]
    load(tmp_path, capsys)
    assert weights(settings, "P-1", "P-2") == [100.0, 200.0]
