"""A real server that loses its feature store and then itself, watched by Prometheus, Alertmanager and `sextant watch`.

Server, feature store, prediction log, label join, probe, Prometheus and Alertmanager are the real ones. A GPU and a
cluster are not to be had: an exporter of the test's own shows the figures of a strained GPU and of a container that
restarts over and over, under the names and labels of DCGM's exporter, kube-state-metrics and cAdvisor. That these
exporters write what is copied here is not tested.
"""

from __future__ import annotations

import itertools
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from prometheus_client import CollectorRegistry, Metric, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from tests.alerting import DEADLINE, Hooks, alertmanager, hurried, prometheus
from tests.programs import free_port
from tests.serving.test_watched import OF_A_SERVER
from tests.watching import configure, heard_names, watching, write_plan

from sextant_components.data.features.feature_sources import ViewTable
from sextant_components.data.features.feature_store import FeatureRepository
from sextant_monitoring.rules_file import rule_groups
from sextant_plan.alerts import AlertKind
from sextant_plan.bundle import Column, read_bundle
from sextant_plan.promotion import ActiveModel, write_active
from sextant_plan.schema import Plan
from sextant_serving.client import Refused
from sextant_serving.launch import Server, running_server

MakeBundle = Callable[..., Path]
COLUMNS = [Column(name="weight", default=2.0), Column(name="stock", view="shelves", default=-1.0)]
KEYS = [f"P-{number}" for number in range(4)]
REJECTING: dict[str, Any] = {"missing_features": "reject", "log": {"sample": 1.0}}
BURST = 4.0  # seconds of traffic, and as many without

WITH_ITS_STORE = {AlertKind.FEATURES_STALE, AlertKind.LABELS_MISSING, AlertKind.TRAFFIC_ODD}
OF_EXPORTERS = {AlertKind.HARDWARE_STRAINED, AlertKind.HARDWARE_FAULTY}
WITHOUT_ITS_STORE = {AlertKind.ERRORS_HIGH, AlertKind.COVERAGE_LOW, AlertKind.FAILURE_LASTING}
WITHOUT_THE_SERVER = {AlertKind.PROBE_FAILING}

CRITERIA: dict[str, dict[str, float]] = {
    "feature_age_hours": {"at_most": 0.5},
    "label_join_rate": {"at_least": 0.5},
    "error_rate": {"at_most": 0.01},
    "coverage": {"at_least": 0.9},
    "probe_success": {"at_least": 1},
    "pod_memory": {"at_most": 0.9},
    "gpu_memory": {"at_most": 0.95},
    "gpu_celsius": {"at_most": 85},
}
PARTS: dict[str, Any] = {
    "data": {
        "source": "data",
        "table": "table.csv",
        "images": "images",
        "columns": {"weight": {"type": "number"}},
        "entity": "parcel_id",
        "timestamp": "at",
        "licence": {"name": "CC0-1.0", "source": "made up", "allows_training": True},
        "consent": {"basis": "no persons"},
    },
    "features": {"views": [{"name": "shelves", "source": "-", "timestamp": "at", "columns": ["stock"]}]},
    "model": {
        "task": "image-tabular-classification",
        "inputs": {
            "image": {"height": 8, "width": 8, "channels": 1},
            "columns": ["weight"],
            "features": ["shelves:stock"],
        },
        "candidates": [{"architecture": "linear"}],
    },
    "serving": {"hardware": {"gpu": 1}, "fallback": {"missing_features": "reject"}},
    "failure": [
        {"mode": "store-down", "fallback": "refused", "recover_within": "5s", "alert": "feature-outage"},
    ],
}


def test_every_alert_there_is_fires_from_a_running_server() -> None:
    """A new kind of alert needs a fault here, or in test_watched.py, that fires it."""
    here = WITH_ITS_STORE | OF_EXPORTERS | WITHOUT_ITS_STORE | WITHOUT_THE_SERVER
    assert OF_A_SERVER | here == set(AlertKind)


@pytest.mark.servers
@pytest.mark.filterwarnings("ignore")  # Feast and its imports warn of their own future
def test_an_outage_reaches_people_through_prometheus_and_alertmanager(make_bundle: MakeBundle, tmp_path: Path) -> None:
    """Old features, no labels, traffic in bursts; then the store's tables are gone; then the server is."""
    limits = [{"id": each.replace("_", "-"), "metric": each, **limit} for each, limit in CRITERIA.items()]
    asked: dict[str, Any] = {"enforce": ["alert"]}
    watched: dict[str, Any] = {"min_rows": 5, "labels": {"delay": "1s"}}
    path, plan = write_plan(tmp_path, [each | asked for each in limits], parts=PARTS, window="10s", **watched)
    _write_rules(tmp_path / "parcels.rules.yaml", plan)
    traffic = {"id": "traffic", "metric": "traffic_change", "at_most": 1.5, **asked}
    (tmp_path / "bursts").mkdir()
    _, bursts = write_plan(tmp_path / "bursts", [traffic], window="2s", **watched)  # judged over 25 windows
    _write_rules(tmp_path / "traffic.rules.yaml", bursts)
    store, home = _store(plan, tmp_path / "feast"), tmp_path / "home"
    _take_over(
        home, make_bundle(columns=COLUMNS, entity="parcel_id", feature_service="parcels", serving=REJECTING), store
    )
    predictions, exporter, alerts = home / "predictions", f"127.0.0.1:{free_port()}", free_port()
    predictions.mkdir()
    with ExitStack() as stack:
        hooks = stack.enter_context(Hooks(threading.Condition()))
        platform = stack.enter_context(_platform())
        serving = stack.enter_context(ExitStack())
        logging = ["--prediction-log", str(predictions)]
        server = serving.enter_context(running_server(home=home, arguments=logging))
        serving.enter_context(_bursts(server))
        logs = ("--predictions", str(predictions), "--feedback", str(home / "feedback.jsonl"))
        stack.enter_context(watching(path, server.url, "--export", exporter, *logs))
        targets = [server.url.removeprefix("http://"), exporter, platform]
        configure(tmp_path, alerts, hooks.url, targets, every="500ms")
        stack.enter_context(alertmanager(tmp_path, alerts))
        stack.enter_context(prometheus(tmp_path, free_port()))
        _await(hooks, WITH_ITS_STORE | OF_EXPORTERS)
        _drop_tables(store / "online.db")
        _await(hooks, WITHOUT_ITS_STORE)
        serving.close()
        _await(hooks, WITHOUT_THE_SERVER)


def _await(hooks: Hooks, kinds: Iterable[AlertKind]) -> None:
    wanted = {kind.alert for kind in kinds}
    with hooks.heard:
        hooks.heard.wait_for(lambda: wanted <= heard_names(hooks), DEADLINE)
    assert wanted - heard_names(hooks) == set()


def _write_rules(path: Path, plan: Plan) -> None:
    path.write_text(yaml.safe_dump(hurried(rule_groups(plan))), encoding="utf-8")


def _store(plan: Plan, folder: Path) -> Path:
    """Fill a feature store with stocks that were counted an hour ago; return its folder."""
    assert plan.features is not None
    now = datetime.now(UTC)
    counted = {"parcel_id": KEYS, "event_timestamp": [now - timedelta(hours=1)] * len(KEYS), "stock": [0.5] * len(KEYS)}
    events = pl.DataFrame(counted, schema_overrides={"event_timestamp": pl.Datetime("us", "UTC")})
    repository = FeatureRepository(plan, folder, [ViewTable(plan.features.views[0], events, "-", 0)])
    with repository.locked():
        repository.apply()
        repository.materialise(until=now)
    return folder


def _drop_tables(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        for (name,) in connection.execute("select name from sqlite_master where type = 'table'").fetchall():
            connection.execute(f'alter table "{name}" rename to "{name}__away"')


def _take_over(home: Path, bundle: Path, store: Path) -> None:
    """Put a bundle and a store into service in a home."""
    home.mkdir()
    digest = read_bundle(bundle).digest
    active = ActiveModel(
        name="parcels", version="3", digest=digest, bundle=str(bundle), feature_repo=str(store), sequence="-"
    )
    write_active(home, active)


@contextmanager
def _bursts(server: Server) -> Iterator[None]:
    """Until the block ends ask for known parcels for some seconds, then not at all for as many."""
    ended = threading.Event()
    rows: dict[str, Any] = {
        "image": np.full((4, 8, 8, 1), 90, np.uint8),
        "weight": np.zeros(4, np.float32),
        "parcel_id": KEYS,
    }

    def send() -> None:
        began = time.monotonic()
        with server.client() as client:
            while not ended.is_set():
                if (time.monotonic() - began) // BURST % 2 == 1:
                    ended.wait(0.1)
                    continue
                try:
                    client.infer_binary(rows)
                except Refused:  # without its store the server answers 503
                    ended.wait(0.01)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class _Platform:
    """What the exporters of GPUs, containers and cluster show of one pod; each look finds a restart more."""

    def __init__(self) -> None:
        self._restarts = itertools.count()

    def collect(self) -> Iterator[Metric]:
        """Return the families (prometheus_client's collector protocol)."""
        pod = {"namespace": "shop", "pod": "parcels-predictor-5d9", "container": "kserve-container"}
        gpu = {"gpu": "0", "UUID": "GPU-5a1e", "device": "nvidia0", "modelName": "NVIDIA L4", "Hostname": "node-1"}
        memory = {"resource": "memory", "unit": "byte", "node": "node-1", "uid": "7f"}
        inside = {"id": "/kubepods/7f", "image": "sextant-serve", "name": "c1"}
        yield _gauge("DCGM_FI_DEV_GPU_TEMP", 95, {**gpu, **pod})
        yield _gauge("DCGM_FI_DEV_FB_USED", 22_500, {**gpu, **pod})
        yield _gauge("DCGM_FI_DEV_FB_FREE", 500, {**gpu, **pod})
        yield _gauge("DCGM_FI_DEV_XID_ERRORS", 79, {**gpu, **pod})
        yield _gauge("kube_pod_container_resource_limits", 2e9, {**memory, **pod})
        yield _gauge("container_memory_working_set_bytes", 1.95e9, {**inside, **pod})
        labels = {**pod, "uid": "7f"}
        restarts = CounterMetricFamily("kube_pod_container_status_restarts_total", "Restarts.", labels=list(labels))
        restarts.add_metric(list(labels.values()), next(self._restarts))
        yield restarts


def _gauge(name: str, value: float, labels: dict[str, str]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, "As the exporter says.", labels=list(labels))
    family.add_metric(list(labels.values()), value)
    return family


@contextmanager
def _platform() -> Iterator[str]:
    """Show the platform's figures over HTTP until the block ends; yield the host and port."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Platform())
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
