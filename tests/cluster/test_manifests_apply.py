"""The overlays on a real API server: everything applies strictly, pods are admitted, and accounts can do little."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
OVERLAYS = ROOT / "manifests" / "overlays"
TOOLS = Path(os.environ.get("SEXTANT_TOOLS", Path.home() / ".cache" / "sextant-tools"))
NAMESPACES = ("sextant", "sextant-system")
APPLY = ("apply", "--server-side", "--validate=strict")  # as the guides say
STORAGE_PATCH = ROOT / "manifests" / "kserve" / "clusterstoragecontainer-patch.yaml"
ROLLOUT = "system:serviceaccount:sextant-system:sextant-rollout"


def kubectl(*arguments: str | Path, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run kubectl in no namespace of its own: the manifests name theirs."""
    return subprocess.run(["kubectl", *arguments], input=text, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def operator_crds(cluster: Any, kserve_crds: None) -> None:
    """The kinds of the Prometheus operator and KEDA, the cluster's own or their modules'."""
    for kind in ("podmonitors", "servicemonitors", "prometheusrules", "prometheuses", "alertmanagers",
                 "alertmanagerconfigs", "scaledobjects"):  # fmt: skip
        files = list((TOOLS / "crds").glob(f"*_{kind}.yaml"))
        assert files, "no CRDs: run tests/manifests/tools.sh"
        group, _, _ = files[0].name.partition("_")
        if cluster.kubectl("get", "crd", f"{kind}.{group}", check=False).returncode != 0:
            cluster.kubectl("apply", "--server-side", "-f", str(files[0]))
            cluster.established("crd", f"{kind}.{group}")


@pytest.fixture(scope="module")
def applied(cluster: Any, operator_crds: None) -> Iterator[subprocess.CompletedProcess[str]]:
    """What `kubectl apply --server-side -k` said of the kind overlay in an empty cluster; removed afterwards."""
    for namespace in NAMESPACES:
        if cluster.kubectl("get", "namespace", namespace, check=False).returncode == 0:
            pytest.fail(f"the namespace {namespace} is in use; the tests would remove what is in it")
    yield kubectl(*APPLY, "-k", OVERLAYS / "kind")
    cluster.kubectl("delete", "namespace", *NAMESPACES, "--timeout=120s")


def test_one_command_applies_everything(applied: subprocess.CompletedProcess[str]) -> None:
    """No unknown field, no missing kind, and no warning, such as of a pod that the level would refuse."""
    assert applied.returncode == 0, applied.stderr
    assert applied.stderr == ""
    built = subprocess.run(["kubectl", "kustomize", OVERLAYS / "kind"], capture_output=True, text=True, check=True)
    assert len(applied.stdout.splitlines()) == len(list(yaml.safe_load_all(built.stdout)))


def test_applying_again_would_change_nothing(applied: subprocess.CompletedProcess[str]) -> None:
    """`kubectl diff` asks the API server what an apply would make of the objects."""
    compared = kubectl("diff", "--server-side", "-k", OVERLAYS / "kind")
    assert compared.returncode == 0, compared.stdout + compared.stderr


def test_an_apply_after_a_promotion_is_refused_by_the_controllers_fields(
    applied: subprocess.CompletedProcess[str], cluster: Any
) -> None:
    """It owns what it changed, so that no apply puts the first version back through an outage."""
    built = yaml.safe_load_all(kubectl("kustomize", OVERLAYS / "kind").stdout)
    (service,) = [item for item in built if item["kind"] == "InferenceService"]
    service["metadata"]["name"] = "promoted"
    text = yaml.safe_dump(service)
    promotion = [
        {"op": "replace", "path": "/spec/predictor/name", "value": "green"},
        {"op": "replace", "path": "/spec/predictor/model/storageUri", "value": "s3://models/parcel-labelling/1/"},
    ]
    try:
        assert kubectl(*APPLY, "-f", "-", text=text).returncode == 0
        cluster.kubectl(
            "-n", "sextant", "patch", "inferenceservice", "promoted", "--type=json", "-p", json.dumps(promotion)
        )
        again = kubectl(*APPLY, "-f", "-", text=text)
        assert again.returncode != 0
        assert "conflict" in again.stderr
        assert ".spec.predictor.name" in again.stderr
        assert ".spec.predictor.model.storageUri" in again.stderr
        found = cluster.kubectl("-n", "sextant", "get", "inferenceservice", "promoted", "-o", "json").stdout
        assert json.loads(found)["spec"]["predictor"]["name"] == "green"
    finally:
        cluster.kubectl("-n", "sextant", "delete", "inferenceservice", "promoted", "--ignore-not-found")


@pytest.mark.parametrize("workload", [
    "deployment/sextant-rollout", "deployment/sextant-trigger", "deployment/mlflow", "deployment/feast",
    "statefulset/postgres", "statefulset/redis", "statefulset/object-store",
])  # fmt: skip
def test_the_restricted_level_admits_each_workloads_pod(
    workload: str, applied: subprocess.CompletedProcess[str], cluster: Any
) -> None:
    """A pod comes into being, whether or not its image can be pulled here."""
    kind, _, name = workload.partition("/")
    created = "{.status.updatedReplicas}" if kind == "deployment" else "{.status.currentReplicas}"
    cluster.kubectl("-n", "sextant-system", "wait", workload, f"--for=jsonpath={created}=1", "--timeout=60s")
    pods = cluster.kubectl("-n", "sextant-system", "get", "pods", "-l", f"app.kubernetes.io/name={name}", "-o", "name")
    assert pods.stdout


def server_pod(overlay: str, *, patched: bool = True) -> dict[str, Any]:
    """The pod that KServe makes of the runtime and the predictor: its container with the predictor's fields over it.

    Before it runs the one that fetches the bundle, as KServe 0.20 ships it, with our patch over it unless left out.
    """
    built = subprocess.run(["kubectl", "kustomize", OVERLAYS / overlay], capture_output=True, text=True, check=True)
    objects = list(yaml.safe_load_all(built.stdout))
    (runtime,) = [item["spec"] for item in objects if item["kind"] == "ServingRuntime"]
    (service,) = [item for item in objects if item["kind"] == "InferenceService"]
    predictor = dict(service["spec"]["predictor"])
    model, (container,) = predictor.pop("model"), runtime["containers"]
    for key in ("name", "minReplicas", "maxReplicas", "deploymentStrategy"):
        predictor.pop(key)
    merged = container | {key: model[key] for key in ("envFrom", "resources")}
    merged["args"] = container["args"] + model["args"]
    fetched = {"name": "kserve-provision-location", "mountPath": "/mnt/models"}
    merged["volumeMounts"] = container["volumeMounts"] + model["volumeMounts"] + [fetched | {"readOnly": True}]
    fetching: dict[str, Any] = {
        "name": "storage-initializer",
        "image": "kserve/storage-initializer:v0.20.0",
        "args": [model["storageUri"], fetched["mountPath"]],
        "resources": {"requests": {"cpu": "100m", "memory": "100Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
        "volumeMounts": [fetched],
    }
    if patched:
        fetching |= yaml.safe_load(STORAGE_PATCH.read_text("utf-8"))["spec"]["container"]
    volumes = runtime["volumes"] + predictor["volumes"] + [{"name": fetched["name"], "emptyDir": {}}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"server-{overlay}", "namespace": "sextant", "labels": runtime["labels"]},
        "spec": predictor | {"initContainers": [fetching], "containers": [merged], "volumes": volumes},
    }


@pytest.mark.parametrize("overlay", ["kind", "gpu", "production"])
def test_the_restricted_level_admits_the_server(
    overlay: str, applied: subprocess.CompletedProcess[str], cluster: Any
) -> None:
    text = yaml.safe_dump(server_pod(overlay))
    cluster.kubectl("-n", "sextant", "apply", "--dry-run=server", "--validate=strict", "-f", "-", text=text)


def test_the_restricted_level_refuses_what_fetches_the_bundle_as_kserve_ships_it(
    applied: subprocess.CompletedProcess[str],
) -> None:
    """By KServe's released manifests, without our patch; with it the test above passes."""
    text = yaml.safe_dump(server_pod("kind", patched=False))
    refused = kubectl("-n", "sextant", "apply", "--dry-run=server", "-f", "-", text=text)
    assert 'violates PodSecurity "restricted' in refused.stderr
    assert 'container "storage-initializer"' in refused.stderr


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_a_pod_that_is_not_restricted_is_refused(
    namespace: str, applied: subprocess.CompletedProcess[str], cluster: Any
) -> None:
    container = {"name": "rude", "image": "x", "securityContext": {"privileged": True}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "rude"}, "spec": {"containers": [container]}}
    refused = kubectl("-n", namespace, "apply", "--dry-run=server", "-f", "-", text=yaml.safe_dump(pod))
    assert 'violates PodSecurity "restricted' in refused.stderr


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        ("patch serving.kserve.io/inferenceservices sextant", "true"),
        ("get gateway.networking.k8s.io/httproutes sextant", "true"),
        ("get /configmaps sextant", "true"),
        ("list /pods sextant", "true"),
        ("create /events sextant", "true"),
        ("update coordination.k8s.io/leases sextant-system", "true"),
        ("delete serving.kserve.io/inferenceservices sextant", "false"),
        ("patch serving.kserve.io/inferenceservices default", "false"),
        ("get /secrets sextant", "false"),
        ("get /secrets sextant-system", "false"),
        ("update apps/deployments sextant", "false"),
        ("create /pods sextant", "false"),
    ],
)
def test_the_controller_may_do_what_it_needs_and_no_more(
    asked: str, allowed: str, applied: subprocess.CompletedProcess[str]
) -> None:
    """Asked of the API server's own authoriser."""
    verb, resource, namespace = asked.split()
    group, _, plural = resource.partition("/")
    attributes = {"verb": verb, "group": group, "resource": plural, "namespace": namespace}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": ROLLOUT, "resourceAttributes": attributes},
    }
    answer = kubectl("create", "-f", "-", "-o", "jsonpath={.status.allowed}", text=yaml.safe_dump(review))
    assert answer.stdout == allowed


@pytest.mark.parametrize("overlay", ["gpu", "production"])
def test_the_other_overlays_are_valid_too(overlay: str, applied: subprocess.CompletedProcess[str]) -> None:
    """As new objects: a claim's access mode, by which production differs, cannot be changed in place."""
    objects = list(yaml.safe_load_all(kubectl("kustomize", OVERLAYS / overlay).stdout))
    for item in objects:
        if item["kind"] == "PersistentVolumeClaim":
            item["metadata"]["name"] += f"-{overlay}"
    done = kubectl(*APPLY, "--dry-run=server", "-f", "-", text=yaml.safe_dump_all(objects))
    assert done.returncode == 0, done.stderr


def test_what_the_steps_of_kubeflow_mount_is_applied(applied: subprocess.CompletedProcess[str], cluster: Any) -> None:
    """The overlay for the runs' namespace, created and applied again without a change."""
    overlay, namespace = OVERLAYS / "kubeflow", "kubeflow"
    if cluster.kubectl("get", "namespace", namespace, check=False).returncode == 0:
        done = kubectl(*APPLY, "--dry-run=server", "-k", overlay)
        assert done.returncode == 0, done.stderr
        return
    cluster.kubectl("create", "namespace", namespace)
    try:
        done = kubectl(*APPLY, "-k", overlay)
        assert (done.returncode, done.stderr) == (0, "")
        assert sorted(line.split()[0] for line in done.stdout.splitlines()) == [
            "configmap/sextant-feast", "configmap/sextant-plan", "cronjob.batch/sextant-features",
            "deployment.apps/sextant-watch", "job.batch/sextant-prepare-home", "persistentvolumeclaim/sextant-home",
            "role.rbac.authorization.k8s.io/sextant-prometheus",
            "rolebinding.rbac.authorization.k8s.io/sextant-prometheus", "service/sextant-watch",
        ]  # fmt: skip
        assert kubectl("diff", "--server-side", "-k", overlay).returncode == 0
    finally:
        cluster.kubectl("delete", "namespace", namespace, "--timeout=120s")


def test_a_share_in_the_field_that_kserve_ignores_is_refused(
    applied: subprocess.CompletedProcess[str], cluster: Any
) -> None:
    """`canaryTrafficPercent` does nothing in Standard mode: the CRD made for the tests does not know it."""
    found = cluster.kubectl("-n", "sextant", "get", "inferenceservice", "parcel-labelling", "-o", "yaml").stdout
    service = yaml.safe_load(found)
    service["metadata"] = {"name": "ignored", "namespace": "sextant"}
    service["spec"]["predictor"]["canaryTrafficPercent"] = 10
    refused = cluster.kubectl(
        "-n", "sextant", "apply", "--dry-run=server", "--validate=strict", "-f", "-",
        text=yaml.safe_dump(service), check=False,
    )  # fmt: skip
    assert 'unknown field "spec.predictor.canaryTrafficPercent"' in refused.stderr


def test_the_charts_notes_name_what_is_missing(operator_crds: None) -> None:
    """An installation without its own stores is told which Secrets it needs, one with known passwords is warned."""
    chart, notes = ROOT / "charts" / "sextant", {}
    for name in ("kind", "production"):
        values = chart / "ci" / f"{name}-values.yaml"
        done = subprocess.run(
            [TOOLS / "bin" / "helm", "install", "notes", chart, "--dry-run=server", "-f", values,
             "--set", "namespaces.serving=notes-serving,namespaces.system=notes-system"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        notes[name] = done.stdout.partition("NOTES:")[2]
    assert "WARNING" in notes["kind"]
    assert "Bring these Secrets" in notes["production"]
    assert "WARNING" not in notes["production"]
