"""The overlays as kustomize builds them: valid by the operators' CRDs, complete, and each what its name says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.servers

Object = dict[str, Any]
Overlay = Callable[[str], list[Object]]
OVERLAYS = ("kind", "gpu", "production")
OF_STEPS = "kubeflow"  # what the steps' pods mount, in their namespace


def walk(value: Any) -> Iterator[Object]:
    """Yield every mapping inside a value."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from walk(item)


def images(objects: list[Object]) -> set[str]:
    return {part["image"] for item in objects for part in walk(item.get("spec")) if isinstance(part.get("image"), str)}


def the(objects: list[Object], kind: str) -> Object:
    (found,) = [item for item in objects if item["kind"] == kind]
    return found


@pytest.mark.parametrize("name", [*OVERLAYS, OF_STEPS])
def test_every_object_is_valid_by_a_strict_schema(
    name: str, overlay: Overlay, schemas: Any, operator_schemas: Any
) -> None:
    """No kind is left out: each has a schema of a typed package or of its operator's CRD."""
    for item in overlay(name):
        known = schemas if schemas.knows(item) else operator_schemas
        assert known.faults(item) == []


@pytest.mark.parametrize(
    ("kind", "field"),
    [("ScaledObject", "spec"), ("PodMonitor", "spec"), ("Prometheus", "spec"), ("PrometheusRule", "spec")],
)
def test_an_unknown_field_of_an_operators_object_is_refused(
    kind: str, field: str, overlay: Overlay, operator_schemas: Any
) -> None:
    item = next(item for item in overlay("kind") if item["kind"] == kind)
    broken = item | {field: item[field] | {"unheardOf": 1}}
    assert operator_schemas.faults(item) == []
    assert any("unheardOf" in fault for fault in operator_schemas.faults(broken))


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_object_says_what_it_is_part_of(name: str, overlay: Overlay) -> None:
    assert {item["metadata"]["labels"]["app.kubernetes.io/part-of"] for item in overlay(name)} == {"sextant"}


@pytest.mark.parametrize("name", ["kind", "gpu"])
def test_a_trial_brings_every_secret_and_setting_that_it_names(name: str, overlay: Overlay) -> None:
    """Applying it is all it takes: no pod waits for a Secret or ConfigMap that somebody has to make."""
    objects = overlay(name)
    made = {(item["kind"], item["metadata"]["namespace"], item["metadata"]["name"]) for item in objects
            if item["kind"] in {"Secret", "ConfigMap"}}  # fmt: skip
    for item in objects:
        namespace = item["metadata"].get("namespace")
        for part in walk(item.get("spec")):
            for key, kind in (("secretRef", "Secret"), ("secretKeyRef", "Secret"), ("urlSecret", "Secret"),
                              ("configMap", "ConfigMap")):  # fmt: skip
                if key in part and not part[key].get("optional"):
                    assert (kind, namespace, part[key]["name"]) in made


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_image_is_pinned(name: str, overlay: Overlay) -> None:
    """By tag for a trial, by digest in production; never by nothing and never `latest`."""
    for image in images(overlay(name)):
        tag = image.rpartition("/")[2]
        assert "@sha256:" in image if name == "production" else ":" in tag and not tag.endswith(":latest")


def test_kind_asks_for_no_gpu(overlay: Overlay) -> None:
    assert "nvidia.com/gpu" not in str(overlay("kind"))


@pytest.mark.parametrize("name", ["gpu", "production"])
def test_a_gpu_is_limited_tolerated_selected_and_given_back_first(name: str, overlay: Overlay) -> None:
    """Without a spare GPU a surge pod would wait for ever, so the old pod goes first."""
    objects = overlay(name)
    predictor = the(objects, "InferenceService")["spec"]["predictor"]
    assert predictor["model"]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert predictor["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert predictor["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert predictor["deploymentStrategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    (container,) = the(objects, "ServingRuntime")["spec"]["containers"]
    assert "sextant-train" in container["image"]  # the serving image has no torch
    assert {"name": "shm", "mountPath": "/dev/shm"} in container["volumeMounts"]


def test_production_has_no_known_password_and_no_store_of_its_own(overlay: Overlay) -> None:
    kinds = {item["kind"] for item in overlay("production")}
    assert not kinds & {"Secret", "StatefulSet"}


def test_production_survives_the_loss_of_one_pod(overlay: Overlay) -> None:
    """Two servers and two controllers, and an eviction takes one at a time."""
    objects = overlay("production")
    assert the(objects, "InferenceService")["spec"]["predictor"]["minReplicas"] == 2
    assert [item["spec"]["minReplicaCount"] for item in objects if item["kind"] == "ScaledObject"] == [2, 2]
    (controller,) = [item for item in objects if item["kind"] == "Deployment"
                     and item["metadata"]["name"] == "sextant-rollout"]  # fmt: skip
    assert controller["spec"]["replicas"] == 2
    budgets = [item["spec"] for item in objects if item["kind"] == "PodDisruptionBudget"]
    assert {budget["maxUnavailable"] for budget in budgets} == {1}


@pytest.mark.parametrize("name", OVERLAYS)
def test_each_predictor_name_is_scaled_by_its_own_queue(name: str, overlay: Overlay) -> None:
    """Blue and green, so that a promotion leaves no predictor unscaled."""
    objects = overlay(name)
    scaled = {
        item["spec"]["scaleTargetRef"]["name"]: item["spec"] for item in objects if item["kind"] == "ScaledObject"
    }
    assert set(scaled) == {"parcel-labelling-blue-predictor", "parcel-labelling-green-predictor"}
    predictor = the(objects, "InferenceService")["spec"]["predictor"]
    assert predictor["name"] in {"blue", "green"}
    for target, spec in scaled.items():
        (trigger,) = spec["triggers"]
        assert f'variant="{target.split("-")[2]}"' in trigger["metadata"]["query"]
        assert spec["maxReplicaCount"] == predictor["maxReplicas"]
