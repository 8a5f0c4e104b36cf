"""What the controller works in: a namespace, the stand-in for KServe, Prometheus, bundles on a volume, and clients."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tests.cluster.rollout.bundles import changed_bundle
from tests.cluster.rollout.clients import Load
from tests.cluster.rollout.controllers import Controllers, wait_for
from tests.cluster.rollout.daemons import Daemon
from tests.cluster.rollout.gateways import revive_gateway
from tests.cluster.volumes import claimed_volume, volume_name
from tests.programs import free_port

from sextant_plan.bundle import GOLDEN_FILE, read_bundle
from sextant_plan.canonical import digest_of
from sextant_plan.ledger import LedgerWriter, Origin
from sextant_plan.schema import Plan
from sextant_plan.verdicts import Verdict
from sextant_serving.registry import Registry, open_registry
from sextant_serving.rollout.annotations import PHASE, STATE, ServiceDocuments
from sextant_serving.rollout.kube import Kube
from sextant_serving.rollout.release import Release
from sextant_serving.rollout.state import Phase, RolloutState

ROLLOUT = Path(__file__).parents[3] / "manifests" / "components" / "rollout"
STANDIN = Path(__file__).with_name("kserve_standin.py")
CLAIMS = ("bundles", "challengers")  # of one folder: a challenger's bundle comes from a claim of its own
# Half of all requests over a second is decided by a few dozen requests, and not reached by a machine that is only busy.
CRITERIA = [
    {"id": "errors", "metric": "error_rate", "at_most": 0.3, "min_n": 20, "enforce": ["canary"]},
    {"id": "slow", "metric": "latency_p50_ms", "at_most": 1000, "min_n": 20, "enforce": ["canary"]},
    {"id": "right", "metric": "accuracy", "at_least": 0.5, "min_n": 20, "enforce": ["canary"]},
]
POLICY = {"strategy": "canary", "steps": [20, 50, 100], "interval": "3s", "min_looks": 1, "deadline": "9m"}


@dataclass
class Workshop:
    """What all rollouts share, and what can be done with them."""

    cluster: Any
    home: Path
    registry: Registry
    bundles: Path
    prometheus: str
    gateway: str
    prometheus_server: Daemon
    access: Path  # a kubeconfig of the controller's own account

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
                    "maxReplicas": 2,
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

    def load_of(
        self, name: str, bundle: Path, *, predictors: tuple[str, ...] = ("blue", "green"), address: str | None = None
    ) -> Load:
        """Clients that ask for one golden row through the gateway, whose right answer is what `bundle` says of it.

        With one predictor, each request is of a unit of its own. At any other `address`, each opens a connection.
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
        urls = [self.predictor_url(name, predictor) for predictor in predictors]
        host, at = f"{name}-{self.cluster.namespace}.example.com", address or self.gateway
        units = len(predictors) == 1
        return Load(name, host, at, urls, {"inputs": inputs}, truth, units=units, fresh=address is not None)

    def predictor_url(self, name: str, predictor: str) -> str:
        """The address of one predictor's own Service, past the gateway."""
        return f"http://{self.cluster.get('service', f'{name}-{predictor}-predictor')['spec']['clusterIP']}:80"

    def controllers(self) -> Controllers:
        return Controllers(self.cluster, self.home, self.prometheus, self.access)

    @contextlib.contextmanager
    def services(self, **bundles: Path) -> Iterator[None]:
        """InferenceServices of these names and bundles with their routes, removed at the end."""
        try:
            for name, bundle in bundles.items():
                self.cluster.apply(self.service_of(name, bundle))
            for name in bundles:
                wait_for(f"the route of {name}", partial(self.routed, name))
            yield
        finally:
            self.cluster.kubectl("delete", "inferenceservice", *bundles)

    def routed(self, name: str) -> bool:
        revive_gateway(self.cluster)
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


@pytest.fixture(scope="session")
def gateway(cluster: Any) -> str:
    """The gateway's address inside the cluster."""
    found = json.loads(
        cluster.kubectl("get", "service", "gateway", "--namespace", "envoy-gateway-system", "-o", "json").stdout
    )
    return f"http://{found['spec']['clusterIP']}:80"


@pytest.fixture(scope="session")
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
    cluster.apply(runtime, *(item for claim in CLAIMS for item in claimed_volume(cluster.namespace, claim, bundles)))
    port, targets = free_port(), root / "targets.json"
    targets.write_text("[]")
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        if not has_kserve(cluster):
            command = [sys.executable, str(STANDIN), cluster.namespace, cluster.image]
            enter(Daemon(command, root / "standin.log"))
        command = [
            "prometheus", f"--config.file={prometheus_config(root, targets)}",
            f"--storage.tsdb.path={root / 'tsdb'}", f"--web.listen-address=127.0.0.1:{port}",
        ]  # fmt: skip
        prometheus = enter(Daemon(command, root / "prometheus.log"))
        stop = threading.Event()
        discovery = threading.Thread(target=write_targets, args=(cluster.namespace, targets, stop))
        discovery.start()
        stack.callback(discovery.join)
        stack.callback(stop.set)
        home = root / "home"
        url = f"http://127.0.0.1:{port}"
        access = controllers_access(cluster, root)
        yield Workshop(cluster, home, open_registry(home), bundles, url, gateway, prometheus, access)
    for claim in CLAIMS:
        cluster.kubectl("delete", "persistentvolume", volume_name(cluster.namespace, claim), "--wait=false")


def controllers_access(cluster: Any, folder: Path) -> Path:
    """Write a kubeconfig with the rights that the manifests give the controller, in the tests' namespace."""
    objects = []
    for name in ("serviceaccount", "role", "rolebinding", "role-lease", "rolebinding-lease"):
        item = yaml.safe_load((ROLLOUT / f"{name}.yaml").read_text("utf-8"))
        for placed in (item["metadata"], *item.get("subjects", [])):
            placed["namespace"] = cluster.namespace
        objects.append(item)
    cluster.apply(*objects)
    config = yaml.safe_load(cluster.kubectl("config", "view", "--raw", "--minify", "--flatten").stdout)
    token = cluster.kubectl("create", "token", "sextant-rollout", "--duration=2h").stdout.strip()
    config["users"] = [{"name": config["users"][0]["name"], "user": {"token": token}}]
    path = folder / "controller.kubeconfig"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def has_kserve(cluster: Any) -> bool:
    """Tell whether the real controller runs, which then takes the stand-in's place."""
    found = cluster.kubectl("get", "deployments", "-A", "-l", "control-plane=kserve-controller-manager", "-o", "name")
    return bool(found.stdout.strip())


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
