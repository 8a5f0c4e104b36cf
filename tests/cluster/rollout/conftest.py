"""What the controller works in: a namespace, the stand-in for KServe, Prometheus, bundles on a volume, and clients."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sextant_plan.bundle import GOLDEN_FILE, read_bundle, seal_bundle
from sextant_plan.canonical import digest_of
from sextant_plan.ledger import LedgerWriter, Origin
from sextant_plan.schema import Plan
from sextant_plan.verdicts import Verdict
from sextant_serving.client import Client, Refused
from sextant_serving.registry import Registry, open_registry
from sextant_serving.rollout.annotations import PHASE, STATE, ServiceDocuments
from sextant_serving.rollout.kube import Kube
from sextant_serving.rollout.release import Release
from sextant_serving.rollout.state import Phase, RolloutState

STANDIN = Path(__file__).with_name("kserve_standin.py")
CLIENTS = 2
# Half of all requests over a second is decided by a few dozen requests, and not reached by a machine that is only busy.
CRITERIA = [
    {"id": "errors", "metric": "error_rate", "at_most": 0.3, "min_n": 20, "enforce": ["canary"]},
    {"id": "slow", "metric": "latency_p50_ms", "at_most": 1000, "min_n": 20, "enforce": ["canary"]},
    {"id": "right", "metric": "accuracy", "at_least": 0.5, "min_n": 20, "enforce": ["canary"]},
]
POLICY = {"strategy": "canary", "steps": [20, 50, 100], "interval": "3s", "min_looks": 1, "deadline": "9m"}


@dataclass
class Load:
    """Clients of one InferenceService through the gateway; a label goes to whichever predictor made the prediction."""

    model: str
    host: str
    gateway: str
    predictors: list[str]
    inputs: dict[str, Any]
    truth: str
    units: bool = False  # whether each request is of a unit of its own
    statuses: Counter[str] = field(default_factory=Counter)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        body = json.dumps(self.inputs).encode()
        headers = {"Host": self.host, "content-type": "application/json"}
        with Client(self.gateway, timeout=65.0) as client:
            while not self._stop.wait(0.02):
                if self.units:
                    headers["x-sextant-unit"] = uuid.uuid4().hex
                try:
                    status, received, _ = client.request("POST", f"/v2/models/{self.model}/infer", body, headers)
                except (OSError, http.client.HTTPException) as error:
                    self.statuses[type(error).__name__] += 1
                    continue
                self.statuses[str(status)] += 1
                if status == 200:
                    self._tell(received.get("x-prediction-id", ""))

    def _tell(self, prediction: str) -> None:
        for url in self.predictors:
            # A predictor that is on its way out no longer takes labels.
            with contextlib.suppress(OSError, http.client.HTTPException, Refused), Client(url, timeout=5.0) as client:
                if client.send_feedback(prediction, self.truth) in {"agree", "disagree", "abstained"}:
                    return


@dataclass
class Workshop:
    """What the rollouts of this module share, and what can be done with them."""

    cluster: Any
    home: Path
    registry: Registry
    bundles: Path
    prometheus: str
    gateway: str

    @property
    def kube(self) -> Kube:
        return Kube()

    def changed_bundle(self, source: Path, **changes: Any) -> Path:
        return changed_bundle(source, self.bundles, **changes)

    def codes_of(self, name: str, variant: str) -> set[str]:
        """Return the codes that a variant's servers answered with, also those that are gone."""
        of_variant = f'sextant_requests_total{{model="{name}",variant="{variant}"}}'
        query = urllib.parse.urlencode({"query": f"sum by (code) (last_over_time({of_variant}[30m])) > 0"})
        with urllib.request.urlopen(f"{self.prometheus}/api/v1/query?{query}", timeout=10) as answer:
            return {found["metric"]["code"] for found in json.load(answer)["data"]["result"]}

    def documents(self, name: str) -> ServiceDocuments:
        return ServiceDocuments(self.kube, self.cluster.namespace, name)

    @staticmethod
    def wait_for(what: str, ready: Any, seconds: float = 180.0) -> Any:
        pause, end = threading.Event(), time.monotonic() + seconds
        while not (found := ready()):
            assert time.monotonic() < end, f"{what} did not come"
            pause.wait(0.5)
        return found

    def service_of(self, name: str, bundle: Path) -> dict[str, Any]:
        return {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {
                "name": name,
                "namespace": self.cluster.namespace,
                "annotations": {"serving.kserve.io/deploymentMode": "Standard"},
            },
            "spec": {
                "predictor": {
                    "name": "blue",
                    "minReplicas": 1,
                    "model": {
                        "modelFormat": {"name": "sextant"},
                        "runtime": "sextant",
                        "storageUri": f"pvc://bundles/{bundle.name}",
                        "args": ["--variant=blue"],
                        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"cpu": "500m"}},
                    },
                }
            },
        }

    def release_of(self, name: str, bundle: Path, verdict: Verdict = Verdict.PASS, **parts: Any) -> Release:
        """Register a bundle and decide on it as a run would."""
        plan = plan_of(name, **parts)
        spec, plan_hash = read_bundle(bundle), digest_of(plan.canonical())
        version = self.registry.register(name, digest=spec.digest, source=bundle.as_uri(), tags={})
        run = self.home / "decisions" / f"{name}-{version}"
        with LedgerWriter(run, "decide", "evaluation", Origin(run.name, plan_hash, "tests", "tests")) as ledger:
            value = {"digest": spec.digest}
            ledger.record("bundle decided on", requirement="-", risk="-", qa_method="-", verdict=verdict, value=value)
        return Release(
            name=name,
            version=version,
            bundle_version=spec.version,
            digest=spec.digest,
            bundle=str(bundle),
            feature_repo=None,
            run_id=run.name,
            plan=plan.canonical(),
            plan_hash=plan_hash,
            decision=(run / "ledger" / "decide-1.jsonl").read_text().splitlines(),
            sequence=0,
            replaces=None,
        )

    def load_of(self, name: str, bundle: Path, *, predictors: tuple[str, ...] = ("blue", "green")) -> Load:
        """Clients that ask for one golden row, whose right answer is what `bundle` says of it.

        With one predictor, each request is of a unit of its own.
        """
        spec = read_bundle(bundle)
        with np.load(bundle / GOLDEN_FILE, allow_pickle=False) as golden:
            rows = golden["probabilities"].max(axis=1)
            row = int(rows.argmax())
            inputs = [
                {
                    "name": tensor.name,
                    "datatype": tensor.datatype,
                    "shape": [1, *golden[tensor.name].shape[1:]],
                    "data": golden[tensor.name][row].ravel().tolist(),
                }
                for tensor in spec.inputs
            ]
            truth = spec.classes[int(golden["probabilities"][row].argmax())]
        services = [f"{name}-{predictor}-predictor" for predictor in predictors]
        urls = [f"http://{self.cluster.get('service', each)['spec']['clusterIP']}:80" for each in services]
        host = f"{name}-{self.cluster.namespace}.example.com"
        return Load(name, host, self.gateway, urls, {"inputs": inputs}, truth, units=len(predictors) == 1)

    @contextlib.contextmanager
    def competing_controllers(self) -> Iterator[list[subprocess.Popen[bytes]]]:
        """Two controllers; the list holds whoever runs, and every one that was started is stopped."""
        started: list[subprocess.Popen[bytes]] = []
        try:
            for _ in range(2):
                started.append(self.start_controller())
            yield started
        finally:
            for controller in started:
                controller.send_signal(signal.SIGTERM)
            for controller in started:
                controller.wait(30)

    def start_controller(self) -> subprocess.Popen[bytes]:
        command = [
            sys.executable, "-m", "sextant_pipelines.cli", "rollout", "controller", "--home", str(self.home),
            "--namespace", self.cluster.namespace, "--prometheus", self.prometheus, "--scrape-interval", "1",
            "--metrics-port", str(free_port()),
        ]  # fmt: skip
        with (self.home / "controller.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=dict(os.environ))

    def kill_the_leader(self, controllers: list[subprocess.Popen[bytes]]) -> int:
        """Kill the controller that holds the lease, start another, and return the killed one's process id."""
        lease = self.cluster.get("lease", "sextant-rollout")
        leader = int(lease["spec"]["holderIdentity"].rpartition("-")[2])
        (victim,) = [each for each in controllers if each.pid == leader]
        victim.kill()
        victim.wait()
        controllers.remove(victim)
        controllers.append(self.start_controller())
        return leader

    def routed(self, name: str) -> bool:
        found = self.cluster.kubectl("get", "httproute", name, "-o", "json", check=False)
        return found.returncode == 0 and '"Accepted"' in found.stdout

    def canary_ready(self, name: str) -> bool:
        conditions = self.cluster.get("inferenceservice", name).get("status", {}).get("conditions", [])
        return {"type": "CanaryPredictorReady", "status": "True"}.items() <= {
            key: value for condition in conditions if condition["type"] == "CanaryPredictorReady"
            for key, value in condition.items()
        }.items()  # fmt: skip

    def state_of(self, name: str) -> RolloutState:
        noted = self.cluster.get("inferenceservice", name)["metadata"]["annotations"]
        return RolloutState.model_validate_json(noted[STATE])

    def reached(self, name: str, phase: Phase) -> bool:
        order = list(Phase)
        noted = self.cluster.get("inferenceservice", name)["metadata"]["annotations"].get(PHASE, "")
        return bool(noted) and order.index(Phase(noted.split()[0])) >= order.index(phase)

    def ended(self, name: str) -> bool:
        noted = self.cluster.get("inferenceservice", name)["metadata"]["annotations"]
        return STATE in noted and RolloutState.model_validate_json(noted[STATE]).terminal


def plan_of(name: str, **parts: Any) -> Plan:
    return Plan.model_validate(
        {
            "name": name,
            "owner": {"team": "tests", "approvers": ["ada"]},
            "goal": {"business": "tell digits apart", "why_ml": "the rollout under test serves a model"},
            "criteria": CRITERIA,
            "data": {
                "source": ".",
                "images": "images",
                "licence": {"name": "CC0-1.0", "source": "none", "allows_training": True},
                "consent": {"basis": "none"},
            },
            "model": {
                "task": "image-classification",
                "inputs": {"image": {"height": 16, "width": 16, "channels": 1}},
                "candidates": [{"architecture": "linear"}],
            },
            "rollout": POLICY,
            **parts,
        }
    )


@contextlib.contextmanager
def process(*command: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as words:
        running = subprocess.Popen([*command], stdout=words, stderr=subprocess.STDOUT)
    try:
        yield running
    finally:
        running.kill()
        running.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def changed_bundle(source: Path, root: Path, **changes: Any) -> Path:
    """Copy a bundle with parts of its description changed, below its digest."""
    spec = read_bundle(source)
    staged = root / "staged"
    shutil.copytree(source, staged)
    serving = spec.serving.model_copy(update=changes.pop("serving", {}))
    slow = changes.pop("slow", 0)
    if slow:
        slow_down(staged / spec.members[0].file, slow)
    sealed = seal_bundle(staged, spec.model_copy(update={"serving": serving, **changes}))
    place = root / sealed.digest.removeprefix("sha256:")
    staged.rename(place)
    place.chmod(0o755)
    return place


def slow_down(network: Path, products: int) -> None:
    """Add so many products of 256 x 256 matrices that depend on the input and change no output."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(network)
    graph = model.graph
    square = numpy_helper.from_array(np.full((256, 256), 1e-6, np.float32), "slow_square")
    nothing = numpy_helper.from_array(np.array(0.0, np.float32), "slow_nothing")
    graph.initializer.extend([square, nothing])
    output = graph.output[0].name
    for node in graph.node:
        node.output[:] = [f"{name}_fast" if name == output else name for name in node.output]
    fast = f"{output}_fast"
    nodes = [
        helper.make_node("ReduceSum", [fast], ["slow_total"], keepdims=0),
        helper.make_node("Mul", ["slow_total", "slow_square"], ["slow_0"]),
    ]
    for index in range(products):
        nodes.append(helper.make_node("MatMul", [f"slow_{index}", "slow_square"], [f"slow_{index + 1}"]))
    nodes += [
        helper.make_node("ReduceMax", [f"slow_{products}"], ["slow_top"], keepdims=0),
        helper.make_node("Mul", ["slow_top", "slow_nothing"], ["slow_zero"]),
        helper.make_node("Add", [fast, "slow_zero"], [output]),
    ]
    graph.node.extend(nodes)
    onnx.save(model, network)


@pytest.fixture(scope="module")
def gateway(cluster: Any) -> str:
    """The gateway's address inside the cluster."""
    found = json.loads(
        cluster.kubectl("get", "service", "gateway", "--namespace", "envoy-gateway-system", "-o", "json").stdout
    )
    return f"http://{found['spec']['clusterIP']}:80"


@pytest.fixture(scope="module")
def workshop(
    cluster: Any, kserve_crds: None, trained_bundle: Path, manifests: list[dict[str, Any]], gateway: str
) -> Iterator[Workshop]:
    """A namespace with the runtime, the bundles on a volume, the stand-in, Prometheus, and a home with a registry."""
    root = trained_bundle.parent / "rollout"
    bundles = root / "bundles"
    bundles.mkdir(parents=True)
    for folder in (root, bundles):
        folder.chmod(0o755)
    (runtime,) = [item for item in manifests if item["kind"] == "ServingRuntime"]
    runtime["metadata"]["namespace"] = cluster.namespace
    cluster.apply(runtime, *volume(cluster, bundles), *volume(cluster, bundles, claim_name="challengers"))
    port, targets = free_port(), root / "targets.json"
    targets.write_text("[]")
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        if not has_kserve(cluster):
            enter(process(sys.executable, str(STANDIN), cluster.namespace, cluster.image, log=root / "standin.log"))
        enter(
            process(
                "prometheus",
                f"--config.file={prometheus_config(root, targets)}",
                f"--storage.tsdb.path={root / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}",
                log=root / "prometheus.log",
            )
        )
        stop = threading.Event()
        discovery = threading.Thread(target=write_targets, args=(cluster.namespace, targets, stop))
        discovery.start()
        stack.callback(discovery.join)
        stack.callback(stop.set)
        home = root / "home"
        yield Workshop(cluster, home, open_registry(home), bundles, f"http://127.0.0.1:{port}", gateway)
    for claim in ("bundles", "challengers"):
        cluster.kubectl("delete", "persistentvolume", f"{cluster.namespace}-{claim}", "--wait=false")


def has_kserve(cluster: Any) -> bool:
    """Tell whether the real controller runs, which then takes the stand-in's place."""
    found = cluster.kubectl("get", "deployments", "-A", "-l", "control-plane=kserve-controller-manager", "-o", "name")
    return bool(found.stdout.strip())


def volume(cluster: Any, folder: Path, *, claim_name: str = "bundles") -> list[dict[str, Any]]:
    """A claim bound to a folder of the node, which is how `pvc://` models reach a predictor."""
    size, mode = {"storage": "1Gi"}, ["ReadOnlyMany"]
    claim = {"namespace": cluster.namespace, "name": claim_name}
    spec = {"accessModes": mode, "storageClassName": ""}
    place = {"hostPath": {"path": str(folder), "type": "Directory"}, "claimRef": claim, "capacity": size}
    name = f"{cluster.namespace}-{claim_name}"
    return [
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": {**spec, **place}},
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": claim,
            "spec": {**spec, "volumeName": name, "resources": {"requests": size}},
        },
    ]


def prometheus_config(root: Path, targets: Path) -> Path:
    path = root / "prometheus.json"
    job = {"job_name": "pods", "file_sd_configs": [{"files": [str(targets)], "refresh_interval": "1s"}]}
    path.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}))
    return path


def write_targets(namespace: str, targets: Path, stop: threading.Event) -> None:
    """Tell Prometheus of the pods, as its own discovery would, which Debian's build leaves out."""
    kube = Kube()
    while not stop.wait(1.0):
        with contextlib.suppress(Exception):
            pods = (kube.get(f"/api/v1/namespaces/{namespace}/pods") or {}).get("items", [])
            found = [
                {
                    "targets": [f"{pod['status']['podIP']}:8080"],
                    "labels": {"namespace": namespace, "pod": pod["metadata"]["name"]},
                }
                for pod in pods
                if pod["status"].get("podIP")
            ]
            partial = targets.with_suffix(".new")
            partial.write_text(json.dumps(found))
            partial.rename(targets)
