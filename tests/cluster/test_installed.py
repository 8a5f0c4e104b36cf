"""What the chart installs comes up in its own images, under the restricted level, and `helm test` passes.

The stores are SQLite in the pods' scratch space, since a cluster for tests has no images of PostgreSQL and Redis.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster.volumes import volume, volume_name
from tests.programs import lacks

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "sextant"
HELM = Path(os.environ.get("SEXTANT_TOOLS", Path.home() / ".cache" / "sextant-tools")) / "bin" / "helm"
# As it was imported into the node: `cluster image localhost/sextant-cluster:dev pipelines/Dockerfile .`
IMAGE = os.environ.get("SEXTANT_CLUSTER_IMAGE", "localhost/sextant-cluster:dev")
DEPLOYMENTS = ("mlflow", "sextant-rollout", "sextant-trigger", "feast")
LEFT_OUT = ("namespaces.create", "model.enabled", "autoscaling.enabled", "monitoring.enabled", "stores.enabled")
FEAST = {"FEAST_REGISTRY": "sqlite:////tmp/registry.db", "FEAST_ONLINE": "localhost:6379"}
CLAIMS = ("sextant-rollout", "sextant-trigger")
SECRETS = {
    "mlflow": {"database": "sqlite:////tmp/mlflow.db"},
    "feast-stores": FEAST,
    "object-store": {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "AWS_REGION": "us-east-1"},
    "trigger": {"token": "none"},
}


@pytest.fixture(scope="module")
def release(cluster: Any) -> str:
    """The name of the chart's release, whose namespaces begin with it."""
    if not on_a_node(cluster, IMAGE):
        lacks(f"the image {IMAGE} on a node; SEXTANT_CLUSTER_IMAGE names another")
    return f"installed-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def system(cluster: Any, release: str) -> Iterator[Any]:
    """The namespace of what was installed, with every Deployment available; all of it is removed afterwards."""
    serving, system = (replace(cluster, namespace=f"{release}-{part}") for part in ("serving", "system"))
    folder = Path(tempfile.mkdtemp(prefix="sextant-installed-", dir="/var/tmp"))
    folder.chmod(0o777)  # a folder of the node is not given to the pod's group
    try:
        serving.apply(namespace("base", serving.namespace))
        system.apply(namespace("components/system", system.namespace))
        system.apply(*(secret(system.namespace, name, keys) for name, keys in SECRETS.items()))
        system.apply(*(volume(system.namespace, claim, folder, mode="ReadWriteOnce") for claim in CLAIMS))
        settings = dict.fromkeys(LEFT_OUT, "false")
        settings |= {"namespaces.serving": serving.namespace, "namespaces.system": system.namespace}
        settings["monitoring.url"] = "http://localhost:9090"  # no rollout runs here, so nothing is asked of it
        settings |= image_settings("cluster", IMAGE) | image_settings("serve", cluster.image)
        helm("install", release, CHART, "--set", ",".join(f"{key}={value}" for key, value in settings.items()))
        for name in DEPLOYMENTS:
            up = system.kubectl("rollout", "status", f"deployment/{name}", "--timeout=240s", check=False)
            assert up.returncode == 0, f"{name}: {said(system, name)}"
        yield system
        helm("uninstall", release)
    finally:
        cluster.kubectl(
            "delete", "namespace", serving.namespace, system.namespace, "--wait=false", "--ignore-not-found"
        )
        volumes = (volume_name(system.namespace, claim) for claim in CLAIMS)
        cluster.kubectl("delete", "persistentvolume", *volumes, "--wait=false", "--ignore-not-found")
        shutil.rmtree(folder, ignore_errors=True)


def image_settings(part: str, image: str) -> dict[str, str]:
    repository, _, tag = image.rpartition(":")
    return {f"images.{part}.repository": repository, f"images.{part}.tag": tag}


def helm(*arguments: str | Path) -> None:
    done = subprocess.run([HELM, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def on_a_node(cluster: Any, image: str) -> bool:
    """Tell whether a node has an image, of which it tells some seconds after its import."""
    deadline, pause = time.monotonic() + 60, threading.Event()
    while True:
        nodes = json.loads(cluster.kubectl("get", "nodes", "-o", "json").stdout)["items"]
        if any(image in held.get("names", []) for node in nodes for held in node["status"].get("images", [])):
            return True
        if time.monotonic() > deadline:
            return False
        pause.wait(2)


def namespace(source: str, name: str) -> dict[str, Any]:
    """The namespace as the manifests declare it, under another name."""
    declared: dict[str, Any] = yaml.safe_load((ROOT / "manifests" / source / "namespace.yaml").read_text("utf-8"))
    declared["metadata"]["name"] = name
    return declared


def secret(namespace: str, name: str, keys: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "stringData": keys,
    }


def said(system: Any, name: str) -> str:
    """What the containers of a Deployment that does not come up said, and how its pods stand."""
    of_it = ("-l", f"app.kubernetes.io/name={name}")
    pods = system.kubectl("get", "pods", *of_it, check=False).stdout
    logs = system.kubectl("logs", *of_it, "--all-containers", "--tail=20", check=False)
    return "\n".join([pods, logs.stdout, logs.stderr])


def test_the_controller_answers_to_helm_test(system: Any, release: str) -> None:
    """Everything is available by then, in images whose user is nobody that they know."""
    helm("test", release, "--timeout", "180s")


def test_the_controller_holds_the_lease_by_the_rights_of_its_account(system: Any) -> None:
    lease = system.get("lease", "sextant-rollout")
    assert lease["spec"]["holderIdentity"].startswith("sextant-rollout-")
