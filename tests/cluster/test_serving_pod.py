"""The serving image on a real cluster: under the restricted level it answers as its bundle's golden requests say."""

from __future__ import annotations

import copy
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.cluster.volumes import claimed_volume, volume_name

from sextant_plan.bundle import GOLDEN_FILE, read_bundle
from sextant_serving.client import Client

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


def server_of(manifests: list[dict[str, Any]], cluster: Any, name: str) -> list[dict[str, Any]]:
    """What KServe makes of the ServingRuntime and a predictor: its container with the model mounted, and a Service."""
    (runtime,) = [item for item in manifests if item["kind"] == "ServingRuntime"]
    (container,) = copy.deepcopy(runtime["spec"]["containers"])
    container["image"], container["imagePullPolicy"] = cluster.image, "Never"
    container["resources"]["requests"]["cpu"] = "100m"  # so that two fit on a small node beside its own pods
    container["args"] = [argument.replace("{{.Name}}", name) for argument in container["args"]]
    container["volumeMounts"].append({"name": "model", "mountPath": "/mnt/models", "readOnly": True})
    labels = {"app.kubernetes.io/name": "sextant-serve", "app.kubernetes.io/instance": name}
    volumes = [*runtime["spec"]["volumes"], {"name": "model", "persistentVolumeClaim": {"claimName": name}}]
    metadata = {"name": name, "namespace": cluster.namespace, "labels": labels}
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"serviceAccountName": "sextant-serve", "containers": [container], "volumes": volumes},
                },
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]},
        },
    ]


@pytest.fixture(scope="module")
def served(cluster: Any, manifests: list[dict[str, Any]], trained_bundle: Path) -> Iterator[Client]:
    """A client of the Service in front of a ready pod."""
    for item in manifests:
        if item["kind"] in {"ServiceAccount", "NetworkPolicy"}:
            item["metadata"]["namespace"] = cluster.namespace
            cluster.apply(item)
    cluster.apply(*claimed_volume(cluster.namespace, "tiny", trained_bundle), *server_of(manifests, cluster, "tiny"))
    cluster.kubectl("rollout", "status", "deployment/tiny", "--timeout=180s")
    address = cluster.get("service", "tiny")["spec"]["clusterIP"]
    with Client(f"http://{address}:80", "tiny") as client:
        # kube-proxy learns of a ready pod a moment after the Deployment does.
        deadline, pause = time.monotonic() + 60, threading.Event()
        while not client.ready():
            assert time.monotonic() < deadline, "the Service does not answer"
            pause.wait(0.2)
        yield client
    cluster.kubectl("delete", "persistentvolume", volume_name(cluster.namespace, "tiny"), "--wait=false")


def test_what_was_trained_here_is_what_the_cluster_serves(served: Client, trained_bundle: Path) -> None:
    """Each golden request gets its golden answer through the Service, within the bundle's tolerance."""
    spec = read_bundle(trained_bundle)
    with np.load(trained_bundle / GOLDEN_FILE, allow_pickle=False) as golden:
        inputs = {tensor.name: golden[tensor.name] for tensor in spec.inputs}
        expected = golden["probabilities"]
    outputs = served.infer_binary(inputs)
    np.testing.assert_allclose(outputs["probabilities"], expected, atol=spec.golden_tolerance)


def test_the_pod_shows_its_metrics_under_the_name_it_was_given(served: Client) -> None:
    """What the PodMonitor will scrape carries the InferenceService's name."""
    assert 'sextant_ready{model="tiny"' in served.metrics_text()


def test_the_server_runs_without_rights(served: Client, cluster: Any) -> None:
    """Not root, and nothing outside /tmp can be written."""
    assert served.ready()
    shell = ["exec", "deployment/tiny", "--", "python3", "-c"]
    assert cluster.kubectl(*shell, "import os; print(os.getuid())").stdout.strip() == "65532"
    refused = cluster.kubectl(*shell, "open('/opt/sextant/x', 'w')", check=False)
    assert "Read-only file system" in refused.stderr


def test_the_image_has_what_each_engine_needs(served: Client, cluster: Any) -> None:
    """Engines without torch load, LightGBM's OpenMP included."""
    assert served.ready()
    said = cluster.kubectl(
        "exec", "deployment/tiny", "--", "python3", "-c", "import lightgbm, onnxruntime; print('ok')"
    )
    assert said.stdout.strip() == "ok"


def test_a_corrupt_bundle_never_becomes_ready(
    cluster: Any, manifests: list[dict[str, Any]], served: Client, trained_bundle: Path
) -> None:
    """The pod stops with the name of the file, and its Service sends nobody to it."""
    assert served.ready()
    corrupt = trained_bundle.with_name("corrupt")
    shutil.copytree(trained_bundle, corrupt)
    weights = next(file for file in corrupt.iterdir() if file.suffix in {".onnx", ".safetensors"})
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00\x01")
    cluster.apply(*claimed_volume(cluster.namespace, "corrupt", corrupt), *server_of(manifests, cluster, "corrupt"))
    cluster.kubectl(
        "wait", "pod", "-l", "app.kubernetes.io/instance=corrupt", "--timeout=120s",
        "--for=jsonpath={.status.containerStatuses[0].lastState.terminated.exitCode}=4",
    )  # fmt: skip
    # The message is on the pod's status: the log of a stopped container is gone when the next one stops.
    stopped = "{.items[0].status.containerStatuses[0].lastState.terminated.message}"
    said = cluster.kubectl("get", "pod", "-l", "app.kubernetes.io/instance=corrupt", "-o", f"jsonpath={stopped}").stdout
    assert weights.name in said
    slices = cluster.kubectl("get", "endpoints", "corrupt", "-o", "jsonpath={.subsets[*].addresses[*].ip}").stdout
    assert slices == ""
    cluster.kubectl("delete", "deployment", "corrupt")
    cluster.kubectl("delete", "persistentvolume", volume_name(cluster.namespace, "corrupt"), "--wait=false")
