"""The chart renders the overlays' objects, refuses values that it does not know, and says what to do next."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sextant_monitoring.boards import render_boards
from sextant_monitoring.prometheus_rule import render_prometheus_rule
from sextant_pipelines.chart_values import render_values
from sextant_pipelines.cluster_profile import load_profile
from sextant_plan.loading import load_plan
from sextant_serving.on_demand import feast_name

pytestmark = pytest.mark.servers

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "sextant"
OVERLAYS = ("kind", "gpu", "production")
TEMPLATE = ("template", "sextant", CHART)
RESOURCE_POLICY = "helm.sh/resource-policy"

Object = dict[str, Any]
Helm = Callable[..., "subprocess.CompletedProcess[str]"]


def by_identity(objects: list[Object]) -> dict[str, Object]:
    """Return objects by kind, namespace and name, with Secrets decoded: the two tools break base64 differently."""
    found = {}
    for item in objects:
        metadata, plain = item["metadata"], item
        if item["kind"] == "Secret":
            plain = item | {"data": {key: base64.b64decode(value) for key, value in item["data"].items()}}
        found[f"{item['kind']} {metadata.get('namespace')}/{metadata['name']}"] = plain
    return found


def without_policy(item: Object) -> Object:
    """Return the object without Helm's own word on an uninstallation, which kustomize does not know."""
    metadata = dict(item["metadata"])
    others = {key: text for key, text in metadata.pop("annotations", {}).items() if key != RESOURCE_POLICY}
    return item | {"metadata": metadata | ({"annotations": others} if others else {})}


def test_an_uninstallation_keeps_namespaces_and_claims(helm: Helm) -> None:
    """A namespace takes every claim in it along, and with them registry, features, bundles and series."""
    rendered = helm(*TEMPLATE, "--skip-tests", "-f", CHART / "ci" / "kind-values.yaml").stdout
    objects = [item for item in yaml.safe_load_all(rendered) if item]
    kept = {item["kind"] for item in objects if item["metadata"].get("annotations", {}).get(RESOURCE_POLICY) == "keep"}
    with_data = [item for item in objects if item["kind"] in kept]
    assert kept == {"Namespace", "PersistentVolumeClaim"}
    assert all(item["metadata"]["annotations"] == {RESOURCE_POLICY: "keep"} for item in with_data)


def rendered_with(settings: str, helm: Helm) -> dict[str, Object]:
    """Return the chart's objects with the values of `--set`, by identity."""
    rendered = helm(*TEMPLATE, "--skip-tests", "--set", settings).stdout
    return by_identity([item for item in yaml.safe_load_all(rendered) if item])


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_chart_renders_what_the_overlay_builds(name: str, helm: Helm, overlay: Any) -> None:
    """Object by object; only `helm test`'s pod and what an uninstallation keeps are the chart's own."""
    rendered = helm(*TEMPLATE, "--skip-tests", "-f", CHART / "ci" / f"{name}-values.yaml")
    ours = by_identity([without_policy(item) for item in yaml.safe_load_all(rendered.stdout) if item])
    theirs = by_identity(overlay(name))
    assert ours.keys() == theirs.keys()
    for identity, item in theirs.items():
        assert ours[identity] == item, identity


@pytest.mark.parametrize("name", OVERLAYS)
def test_lint_finds_no_fault(name: str, helm: Helm) -> None:
    helm("lint", "--strict", CHART, "-f", CHART / "ci" / f"{name}-values.yaml")


@pytest.mark.parametrize(
    "setting",
    [
        "rollouts.enabled=true",
        "model.gpus=1",
        "model.gpu.cout=2",
        "images.serve.name=x",
        "model.replicas.min=0",
        "model.storageUri=/data/model",
        "images.serve.digest=sha256:abc",
        "namespaces.serving=Not_A_Name",
        "autoscaling.queueWaitSeconds=soon",
        "feast.schedule=hourly",
    ],
)
def test_a_value_that_the_schema_does_not_know_is_refused(setting: str, helm: Helm) -> None:
    refused = helm(*TEMPLATE, "--set", setting, check=False)
    assert refused.returncode != 0
    assert "values don't meet the specifications of the schema" in refused.stderr


def values_of(settings: Object, above: str = ".Values") -> Iterator[str]:
    """Yield the path of each value as a template reads it."""
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from values_of(value, f"{above}.{key}")
        else:
            yield f"{above}.{key}"


def test_every_value_is_read_by_a_template() -> None:
    """By itself or with all that is beside it: a value that changes nothing is a promise not kept."""
    text = "\n".join(path.read_text("utf-8") for path in (CHART / "templates").rglob("*") if path.is_file())
    read = set(re.findall(r"\.Values(?:\.\w+)+", text))
    values = values_of(yaml.safe_load((CHART / "values.yaml").read_text("utf-8")))
    unread = [value for value in values if not any(f"{value}.".startswith(f"{path}.") for path in read)]
    assert unread == []


def test_the_defaults_bring_no_known_password(helm: Helm) -> None:
    assert "kind: Secret" not in helm(*TEMPLATE).stdout


def test_a_digest_wins_over_a_tag(helm: Helm) -> None:
    digest = "sha256:" + "1" * 64
    rendered = helm(*TEMPLATE, "--set", f"images.serve.digest={digest}").stdout
    assert f"registry.example/sextant-serve@{digest}" in rendered
    assert "registry.example/sextant-serve:" not in rendered


@pytest.mark.parametrize(
    ("settings", "kinds"),
    [
        (
            "monitoring.enabled=false,monitoring.url=http://prometheus.example",
            {"Prometheus", "Alertmanager", "PodMonitor", "ServiceMonitor", "PrometheusRule"},
        ),
        ("autoscaling.enabled=false", {"ScaledObject"}),
        ("model.enabled=false", {"InferenceService"}),
    ],
)
def test_a_part_can_be_left_out(settings: str, kinds: set[str], helm: Helm) -> None:
    """A cluster without an operator takes the rest."""
    rendered = helm(*TEMPLATE, "--set", settings).stdout
    assert not kinds & {item["kind"] for item in yaml.safe_load_all(rendered) if item}


@pytest.mark.parametrize(
    ("setting", "traces"),
    [
        ("logs.enabled", ("ship-logs", "--prediction-log", "--feedback-log", "SEXTANT_LOGS", "sextant-watch")),
        ("monitoring.hardware", ("ClusterRole", "kube-state-metrics", "cadvisor", "SextantHardwareUnseen", "10250")),
    ],
)
def test_what_is_switched_off_leaves_no_trace(setting: str, traces: tuple[str, ...], helm: Helm) -> None:
    """A server without a shipper beside it would fill its disk, and a right that nobody needs is one too many."""
    assert all(trace in helm(*TEMPLATE).stdout for trace in traces)
    without = helm(*TEMPLATE, "--set", f"{setting}=false").stdout
    assert [trace for trace in traces if trace in without] == []


def test_without_feast_nothing_asks_for_its_settings(helm: Helm, tmp_path: Path) -> None:
    """A server would wait for a ConfigMap that nobody makes."""
    objects = rendered_with("feast.enabled=false", helm)
    for identity in ("InferenceService sextant/parcel-labelling", "ServingRuntime sextant/sextant"):
        assert "feast" not in str(objects[identity])
    assert not [item for item in objects if item.startswith("ServiceMonitor") and item.endswith("/feast")]
    (tmp_path / "profile.yaml").write_text(objects["ConfigMap sextant-system/trigger"]["data"]["profile.yaml"], "utf-8")
    profile = load_profile(tmp_path / "profile.yaml")
    assert [secret.name for secret in profile.secrets] == ["object-store"]
    assert profile.config_maps == []
    assert "SEXTANT_FEAST_STORES" not in profile.env


@pytest.mark.parametrize("part", ["monitoring", "mlflow"])
def test_an_address_that_nothing_answers_at_is_refused(part: str, helm: Helm) -> None:
    """The controller, the autoscaler and the runs would call a Service that was left out."""
    refused = helm(*TEMPLATE, "--set", f"{part}.enabled=false", check=False)
    assert refused.returncode != 0
    assert f"name another {'Prometheus' if part == 'monitoring' else 'MLflow'} in {part}.url" in refused.stderr
    callers = ",".join(f"{caller}.enabled=false" for caller in ("rollout", "autoscaling", "trigger"))
    assert rendered_with(f"{part}.enabled=false,{callers}", helm)


def test_another_prometheus_and_another_mlflow_are_called_and_reached(helm: Helm) -> None:
    """By everything that calls them, and the controller is let out to their ports."""
    theirs = {"monitoring": "http://prometheus.monitoring.svc:9091", "mlflow": "https://mlflow.example"}
    settings = ",".join(f"{part}.enabled=false,{part}.url={url}" for part, url in theirs.items())
    objects = rendered_with(settings, helm)
    (container,) = objects["Deployment sextant-system/sextant-rollout"]["spec"]["template"]["spec"]["containers"]
    assert f"--prometheus={theirs['monitoring']}" in container["args"]
    assert {"name": "MLFLOW_TRACKING_URI", "value": theirs["mlflow"]} in container["env"]
    for name in ("blue", "green"):
        (trigger,) = objects[f"ScaledObject sextant/parcel-labelling-{name}"]["spec"]["triggers"]
        assert trigger["metadata"]["serverAddress"] == theirs["monitoring"]
    assert theirs["mlflow"] in objects["ConfigMap sextant-system/trigger"]["data"]["profile.yaml"]
    egress = objects["NetworkPolicy sextant-system/sextant-rollout"]["spec"]["egress"]
    for port in (9091, 443):
        assert {"ports": [{"port": port, "protocol": "TCP"}]} in egress


def test_other_namespaces_reach_every_object_and_every_address(helm: Helm) -> None:
    """Two installations in one cluster do not meet."""
    rendered = helm(
        *TEMPLATE, "-f", CHART / "ci" / "kind-values.yaml",
        "--set", "namespaces.serving=models,namespaces.system=platform",
    ).stdout  # fmt: skip
    objects = [item for item in yaml.safe_load_all(rendered) if item]
    assert {item["metadata"].get("namespace") for item in objects} == {"models", "platform", None}
    assert "sextant-system" not in str(objects)


def test_a_name_of_the_model_reaches_every_object(helm: Helm) -> None:
    rendered = helm(*TEMPLATE, "--set", "model.name=digits").stdout
    objects = by_identity([item for item in yaml.safe_load_all(rendered) if item])
    assert "InferenceService sextant/digits" in objects
    assert objects["ScaledObject sextant/digits-blue"]["spec"]["scaleTargetRef"]["name"] == "digits-blue-predictor"


def test_another_plan_replaces_the_examples_everywhere(helm: Helm, tmp_path: Path) -> None:
    """`sextant render values` is all that a plan of one's own takes: nothing of the parcels is left."""
    path, values = ROOT / "examples" / "digits" / "plan.yaml", tmp_path / "values.yaml"
    values.write_text(render_values(path), encoding="utf-8")
    rendered = helm(*TEMPLATE, "-f", CHART / "ci" / "kind-values.yaml", "-f", values).stdout
    assert "parcel" not in rendered
    objects = by_identity([item for item in yaml.safe_load_all(rendered) if item])
    plan = load_plan(path)
    assert objects["ConfigMap sextant-system/trigger"]["data"]["plan.yaml"] == path.read_text("utf-8")
    rule = yaml.safe_load(render_prometheus_rule(plan))
    assert objects["PrometheusRule sextant-system/digits"]["spec"] == rule["spec"]
    for name, board in render_boards(plan).items():
        data = objects[f"ConfigMap sextant-system/dashboard-{name.removesuffix('.json')}"]["data"]
        assert json.loads(data[name]) == json.loads(board)
    predictor = objects["InferenceService sextant/digits"]["spec"]["predictor"]
    assert predictor["model"]["storageUri"] == "s3://models/digits/first/"
    feast = yaml.safe_load(objects["ConfigMap sextant/feast"]["data"]["feature_store.yaml"])
    assert feast["project"] == feast_name(plan.name)
