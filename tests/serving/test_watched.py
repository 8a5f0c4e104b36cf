"""A real server with faults, watched: by Prometheus and Alertmanager, and by `sextant watch` that tells the trigger."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tests.alerting import DEADLINE, Hooks, alertmanager, hurried, prometheus
from tests.programs import free_port
from tests.watching import configure, heard_alerts, heard_names, watching, write_plan

from sextant_monitoring.launcher import Outcome, TimeWindow
from sextant_monitoring.rules_file import rule_groups
from sextant_monitoring.trigger import Trigger
from sextant_monitoring.trigger_service import TriggerServer
from sextant_plan.alerts import AlertKind
from sextant_plan.ledger import LedgerWriter, Origin
from sextant_plan.verdicts import Verdict
from sextant_serving.client import Client
from sextant_serving.launch import Server, running_server

MakeBundle = Callable[..., Path]
RETRAINED: dict[str, Any] = {
    "id": "input-drift",
    "metric": "input_psi",
    "at_most": 0.2,
    "enforce": ["alert", "retrain"],
}
LIMITS: dict[str, dict[str, float]] = {
    "prediction_psi": {"at_most": 0.1},
    "prediction_bias": {"at_most": 0.1},
    "unknown_rate": {"at_most": 0.05},
    "accuracy": {"at_least": 0.8},
    "satisfaction": {"at_least": 0.5},
    "client_error_rate": {"at_most": 0.1},
    "device_busy": {"at_most": 1e-9},
    "model_age_days": {"at_most": 30},
    "staleness_loss": {"at_most": 0.02},
    "latency_p99_ms": {"at_most": 0.001},
}
# What a server can show of itself without a feature store, a GPU or a cluster; tests/serving/test_watched_outage.py
# has the others.
OF_A_SERVER = {
    AlertKind.INPUT_DRIFT,
    AlertKind.PREDICTION_DRIFT,
    AlertKind.PREDICTION_BIAS,
    AlertKind.INPUTS_FLAWED,
    AlertKind.QUALITY_LOW,
    AlertKind.USERS_DISSATISFIED,
    AlertKind.CLIENT_ERRORS,
    AlertKind.SATURATED,
    AlertKind.MODEL_OLD,
    AlertKind.LATENCY_HIGH,
    AlertKind.BUDGET_BURNING,
    AlertKind.NO_READY_SERVER,
    AlertKind.RETRAIN_DUE,
}


@contextmanager
def _faulty_traffic(server: Server) -> Iterator[None]:
    """Until the block ends send heavy parcels from nowhere in white pictures, labels that differ, and bad requests."""
    ended = threading.Event()
    white = np.full((8, 8, 8, 1), 255, np.uint8)
    heavy, unknown = np.full(8, 50, np.float32), ["moon"] * 8

    def send() -> None:
        with server.client() as client:
            while not ended.is_set():
                _send(client, {"image": white, "weight": heavy, "zone": unknown})

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _send(client: Client, inputs: dict[str, Any]) -> None:
    client.infer_binary(inputs)
    said = client.infer_binary({name: value[:1] for name, value in inputs.items()})["label"][0]
    client.request("POST", f"/v2/models/{client.model}/infer", b"{}", {"content-type": "application/json"})
    assert client.prediction_id is not None
    client.send_rating(client.prediction_id, 1)
    client.send_feedback(client.prediction_id, "light" if said != "light" else "medium")


class Retrainings:
    """Whoever carries out a retraining; here it is only noted."""

    def __init__(self) -> None:
        self.windows: dict[str, TimeWindow] = {}
        self.asked = threading.Event()

    def start(self, request_id: str, window: TimeWindow) -> None:
        """Note the request."""
        self.windows[request_id] = window
        self.asked.set()

    def change_architecture(self, request_id: str) -> None:
        """Note the request; here it does not come to that."""
        self.start(request_id, TimeWindow(0.0, 1.0))

    def outcome(self, request_id: str) -> Outcome:
        """Return that it goes on, so that nothing else is started."""
        return Outcome.RUNNING if request_id in self.windows else Outcome.BROKEN


@pytest.mark.slow
def test_the_watch_tells_the_trigger_of_a_drift_and_a_retraining_starts(
    make_bundle: MakeBundle, tmp_path: Path
) -> None:
    """Server, `sextant watch --alerts-to` and trigger over HTTP; the watch ends by what it saw last."""
    path, plan = write_plan(tmp_path, [RETRAINED], window="5s", min_rows=20)
    (tmp_path / "token").write_text("secret")
    started = Retrainings()
    with TriggerServer(("127.0.0.1", 0), Trigger(plan, tmp_path, started), tmp_path / "token") as trigger:
        thread = threading.Thread(target=trigger.serve_forever)
        thread.start()
        try:
            with running_server(bundle=make_bundle()) as server, _faulty_traffic(server):
                told = ("--alerts-to", f"{trigger.url}/alerts", "--alerts-token-file", str(tmp_path / "token"))
                with watching(path, server.url, *told) as watch:
                    assert started.asked.wait(DEADLINE)
        finally:
            trigger.shutdown()
            thread.join()
    assert watch.returncode == 1
    (window,) = started.windows.values()
    assert window.end - window.start == 5.0


@pytest.mark.servers
def test_faults_of_a_real_server_reach_people_through_prometheus_and_alertmanager(
    make_bundle: MakeBundle, tmp_path: Path
) -> None:
    """Prometheus scrapes the server and the watch's exporter; what one server can suffer alone fires, and once."""
    alerting: dict[str, Any] = {"enforce": ["alert"]}
    others = [{"id": each.replace("_", "-"), "metric": each, **alerting, **limit} for each, limit in LIMITS.items()]
    burns = [{"rate": 1.5, "long": "20s", "short": "5s", "pages": True}]
    watched: dict[str, Any] = {"window": "20s", "min_rows": 20, "objectives": {"period": "10m", "burns": burns}}
    path, plan = write_plan(tmp_path, [RETRAINED, *others], **watched)
    _, gone = write_plan(tmp_path, [RETRAINED], name="letters", **watched)
    for each in (plan, gone):
        (tmp_path / f"{each.name}.rules.yaml").write_text(yaml.safe_dump(hurried(rule_groups(each))))
    alerts, metrics, exporter = free_port(), free_port(), f"127.0.0.1:{free_port()}"
    bundle = make_bundle(serving={"latency_edges_ms": [0.001]})
    with ExitStack() as stack:
        hooks = stack.enter_context(Hooks(threading.Condition()))
        server = stack.enter_context(running_server(bundle=bundle))
        stack.enter_context(_faulty_traffic(server))
        stack.enter_context(watching(path, server.url, "--export", exporter, "--run", str(_aged_run(tmp_path))))
        configure(tmp_path, alerts, hooks.url, [server.url.removeprefix("http://"), exporter])
        stack.enter_context(alertmanager(tmp_path, alerts))
        stack.enter_context(prometheus(tmp_path, metrics))
        wanted = {kind.alert for kind in OF_A_SERVER}
        with hooks.heard:
            hooks.heard.wait_for(lambda: wanted <= heard_names(hooks), DEADLINE)
        fired = {(alert["labels"]["alertname"], alert["labels"].get("criterion")) for alert in heard_alerts(hooks)}
    assert wanted - {name for name, _ in fired} == set()
    assert {("SextantModelOld", "model-age-days"), ("SextantModelOld", "staleness-loss")} <= fired


def _aged_run(folder: Path) -> Path:
    """Return a run whose evaluation has proved that a day of age costs 0.1 % of accuracy."""
    run = folder / "run"
    with LedgerWriter(run, "evaluate", "evaluation", Origin("r", "sha256:" + "0" * 64, "c", "i")) as ledger:
        ledger.record(
            "staleness",
            requirement="r",
            risk="k",
            qa_method="q",
            verdict=Verdict.PASS,
            value={"lost_a_day": [1e-3, 9e-4, 1.1e-3]},
        )
    return run
