"""The Kubernetes of KUBECONFIG, a namespace of the tests' own, and a bundle trained on this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
# The image as it was imported into the node: `cluster image localhost/sextant-serve:dev serving/Dockerfile .`
IMAGE = os.environ.get("SEXTANT_SERVE_IMAGE", "localhost/sextant-serve:dev")


@dataclass(frozen=True)
class Cluster:
    """kubectl in a namespace that stands for the manifests' own; `image` is the serving image on its nodes."""

    namespace: str
    image: str = IMAGE

    def kubectl(self, *arguments: str, text: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run kubectl; with `check`, a failure shows what it said."""
        done = subprocess.run(
            ["kubectl", "--namespace", self.namespace, *arguments],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    def apply(self, *objects: dict[str, Any]) -> None:
        """Apply objects; an unknown field is an error."""
        self.kubectl("apply", "--validate=strict", "-f", "-", text=yaml.safe_dump_all(objects))

    def established(self, *crds: str, text: str | None = None) -> None:
        """Wait until the API server serves the CRDs; `kubectl wait` gives up on one that has no condition yet."""
        deadline, pause = time.monotonic() + 120, threading.Event()
        while True:
            asked = ("wait", "--for=condition=Established", "--timeout=60s", *crds)
            done = self.kubectl(*asked, text=text, check=False)
            if done.returncode == 0:
                return
            assert time.monotonic() < deadline, done.stderr
            pause.wait(0.5)

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """Return an object as the API server has it."""
        found: dict[str, Any] = json.loads(self.kubectl("get", kind, name, "-o", "json").stdout)
        return found


@pytest.fixture(scope="session")
def manifests() -> list[dict[str, Any]]:
    """The objects of manifests/base as kustomize builds them."""
    built = subprocess.run(
        ["kubectl", "kustomize", ROOT / "manifests" / "base"], capture_output=True, text=True, check=True
    )
    return list(yaml.safe_load_all(built.stdout))


@pytest.fixture(scope="session")
def cluster(manifests: list[dict[str, Any]]) -> Iterator[Cluster]:
    """The cluster with a namespace as the manifests declare it, removed afterwards."""
    if not os.environ.get("KUBECONFIG"):
        pytest.fail("KUBECONFIG names no cluster: run this inside one, or leave the marker `cluster` out")
    cluster = Cluster(f"sextant-{uuid.uuid4().hex[:8]}")
    (namespace,) = [item for item in manifests if item["kind"] == "Namespace"]
    namespace["metadata"]["name"] = cluster.namespace
    cluster.apply(namespace)
    yield cluster
    cluster.kubectl("delete", "namespace", cluster.namespace, "--wait=false")


@pytest.fixture(scope="session")
def kserve_crds(cluster: Cluster) -> None:
    """The kinds of KServe: the cluster's own, or CRDs made of the models of its package, and its webhook's rules."""
    if cluster.kubectl("get", "crd", "inferenceservices.serving.kserve.io", check=False).returncode == 0:
        return
    script = ROOT / "tests" / "manifests" / "model_schemas.py"
    made = subprocess.run([sys.executable, "-W", "ignore", script], capture_output=True, text=True, check=True)
    # The schemas are larger than the annotation that a client-side apply would keep them in.
    cluster.kubectl("apply", "--server-side", "-f", "-", text=made.stdout)
    cluster.established("-f", "-", text=made.stdout)
    cluster.kubectl("apply", "-f", str(ROOT / "tests" / "cluster" / "kserve_rules.yaml"))


@pytest.fixture(scope="session")
def trained_bundle() -> Iterator[Path]:
    """The bundle that a whole life cycle of the tiny plan put in service, readable by any user."""
    folder = Path(tempfile.mkdtemp(prefix="sextant-cluster-test-", dir="/var/tmp"))
    folder.chmod(0o755)
    shutil.copy(ROOT / "examples" / "tiny" / "plan.yaml", folder)
    for command in (
        ["-m", "sextant_examples.tiny", str(folder / "data")],
        ["-m", "sextant_pipelines.cli", "run", str(folder / "plan.yaml"), "--home", str(folder / "home")],
    ):
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    active = json.loads((folder / "home" / "active.json").read_bytes())
    bundle = folder / "bundle"
    shutil.copytree(active["bundle"], bundle)
    bundle.chmod(0o755)
    for file in bundle.rglob("*"):
        file.chmod(0o755 if file.is_dir() else 0o644)
    yield bundle
    shutil.rmtree(folder)
