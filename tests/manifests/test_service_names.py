"""What the steps' pods reach by a name is a Service of the manifests that lets them in, and their Secrets are there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sextant_pipelines.cluster_ir import for_cluster
from sextant_pipelines.cluster_profile import ClusterProfile, load_profile
from sextant_pipelines.compile import split_documents
from sextant_plan.loading import load_plan
from sextant_plan.schema import PredictionLog
from sextant_serving.on_demand import feast_name

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "manifests"
STEPS_NAMESPACE = "kubeflow"
ADDRESS = re.compile(r"\b([a-z][a-z0-9-]*)\.(sextant[a-z-]*)(\.svc)?(?::(\d+))?\b")

Object = dict[str, Any]


def _how_to() -> str:
    page = (ROOT / "docs" / "how-to" / "pipelines.md").read_text(encoding="utf-8")
    (block,) = [text for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "pipeline_root" in text]
    return str(block).replace("…", "0" * 64)


def _production() -> str:
    patch = yaml.safe_load((MANIFESTS / "overlays" / "production" / "configmap-trigger.yaml").read_text("utf-8"))
    return str(patch["data"]["profile.yaml"])


PROFILES = {
    "trial": lambda: (MANIFESTS / "components" / "trigger" / "profile.yaml").read_text(encoding="utf-8"),
    "production": _production,
    "how-to": _how_to,
}


@pytest.fixture(params=PROFILES)
def profile(request: pytest.FixtureRequest, tmp_path: Path) -> ClusterProfile:
    """A profile that is shipped or shown."""
    (tmp_path / "profile.yaml").write_text(PROFILES[request.param](), encoding="utf-8")
    return load_profile(tmp_path / "profile.yaml")


@pytest.fixture(scope="module")
def secrets() -> dict[str, dict[str, str]]:
    """The trial's Secrets in the system's namespace: values by key."""
    found = yaml.safe_load((MANIFESTS / "components" / "development-secrets" / "kustomization.yaml").read_text("utf-8"))
    return {
        each["name"]: dict(literal.split("=", 1) for literal in each["literals"])
        for each in found["secretGenerator"]
        if each["namespace"] == "sextant-system"
    }


def _addresses(profile: ClusterProfile, secrets: dict[str, dict[str, str]]) -> Iterator[tuple[str, str, int | None]]:
    """Yield each Service that a step is told of: name, namespace and port, if one is said."""
    told = list(profile.env.values())
    told += [secrets[secret.name][key] for secret in profile.secrets for key in secret.env.values()]
    for text in told:
        for name, namespace, suffix, port in ADDRESS.findall(text):
            assert suffix, f"{text}: MLflow answers to the name with .svc alone, so that all are written so"
            yield name, namespace, int(port) if port else None


def test_every_name_is_a_service_with_that_port(
    profile: ClusterProfile, secrets: dict[str, dict[str, str]], sources: dict[str, Object]
) -> None:
    """A Service that nobody made would be missed by the first step that runs."""
    services = {
        (item["metadata"]["name"], item["metadata"].get("namespace", STEPS_NAMESPACE)): {
            port["port"] for port in item["spec"]["ports"]
        }
        for item in sources.values()
        if item["kind"] == "Service"
    }
    found = list(_addresses(profile, secrets))
    assert ("mlflow", "sextant-system", 5000) in found
    for name, namespace, port in found:
        assert port in services[name, namespace], f"{name}.{namespace}:{port}"


def test_what_is_reached_lets_the_steps_in(
    profile: ClusterProfile, secrets: dict[str, dict[str, str]], sources: dict[str, Object]
) -> None:
    """All traffic that no policy names is dropped, and the steps run in a namespace of Kubeflow's."""
    for name, _, port in _addresses(profile, secrets):
        policy = sources[f"components/{name}/networkpolicy.yaml"]["spec"]
        admitted = {
            each["port"]
            for rule in policy["ingress"]
            if any(_admits(peer) for peer in rule["from"])
            for each in rule["ports"]
        }
        assert port in admitted, name


def _admits(peer: Object) -> bool:
    if "podSelector" in peer:
        return False
    selector = peer["namespaceSelector"]
    named = [value for each in selector.get("matchExpressions", []) for value in each["values"]]
    return STEPS_NAMESPACE in [*selector.get("matchLabels", {}).values(), *named]


def test_mlflow_answers_to_the_name_that_the_steps_call_it_by(
    profile: ClusterProfile, sources: dict[str, Object]
) -> None:
    """It refuses a request for any other host."""
    (container,) = sources["components/mlflow/deployment.yaml"]["spec"]["template"]["spec"]["containers"]
    (hosts,) = [text.split("=")[1] for text in container["args"] if text.startswith("--allowed-hosts=")]
    assert profile.env["MLFLOW_TRACKING_URI"].removeprefix("http://") in hosts.split(",")


def test_the_secrets_have_the_keys_that_the_steps_are_given(
    profile: ClusterProfile, secrets: dict[str, dict[str, str]]
) -> None:
    """A key that a Secret has not keeps the pod from starting."""
    for secret in profile.secrets:
        assert set(secret.env.values()) <= secrets[secret.name].keys()


def test_what_the_steps_mount_is_made_for_their_namespace(profile: ClusterProfile) -> None:
    """The overlay has the claim and the ConfigMap, with the file that the environment names."""
    folder = MANIFESTS / "overlays" / STEPS_NAMESPACE
    listed = yaml.safe_load((folder / "kustomization.yaml").read_text("utf-8"))
    claims = {yaml.safe_load((folder / name).read_text("utf-8"))["metadata"]["name"] for name in listed["resources"]}
    maps = {each["name"]: each["files"] for each in listed["configMapGenerator"]}
    assert listed["namespace"] == STEPS_NAMESPACE
    assert {each.claim for each in profile.volumes} <= claims
    (mounted,) = profile.config_maps
    folder_in_pod, _, file = profile.env["SEXTANT_FEAST_STORES"].rpartition("/")
    assert (folder_in_pod, file in maps[mounted.name]) == (mounted.mount, True)


def test_features_are_loaded_between_runs_as_a_run_loads_them(sources: dict[str, Object]) -> None:
    """The CronJob has the stores' file, the Secrets, the home and the data of the shipped profile."""
    profile = yaml.safe_load(PROFILES["trial"]())
    job = sources[f"overlays/{STEPS_NAMESPACE}/cronjob-features.yaml"]["spec"]["jobTemplate"]["spec"]["template"]
    (container,) = job["spec"]["containers"]
    told = {each["name"]: each["value"] for each in container["env"]}
    assert told == {name: profile["env"][name] for name in told}
    assert {each["secretRef"]["name"] for each in container["envFrom"]} == {each["name"] for each in profile["secrets"]}
    mounted = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    volumes = {each["name"]: each for each in job["spec"]["volumes"]}
    for each in profile["volumes"]:
        assert volumes[mounted[each["mount"]]]["persistentVolumeClaim"]["claimName"] == each["claim"]
    for each in profile["config_maps"]:
        assert volumes[mounted[each["mount"]]]["configMap"]["name"] == each["name"]
    assert container["args"] == [f"--data={profile['data']}", f"--home={profile['home']}"]


def test_the_watch_reads_what_the_servers_ship_and_is_scraped(sources: dict[str, Object]) -> None:
    """Both logs go below the address that monitor and watch are told, and each of the three finds the next."""
    patches = yaml.safe_load((MANIFESTS / "components" / "logs" / "inferenceservice.yaml").read_text("utf-8"))
    added = {each["path"]: each["value"] for each in patches if not each["path"].endswith("/-")}
    arguments = [each["value"] for each in patches if each["path"].endswith("/args/-")]
    (shipper,) = added["/spec/predictor/initContainers"]
    *_, folder, address = shipper["command"]
    assert arguments == [
        f"--prediction-log={folder}/predictions",
        f"--feedback-log={folder}/feedback/$(POD_NAME).jsonl",
    ]
    watch = sources[f"overlays/{STEPS_NAMESPACE}/deployment-watch.yaml"]["spec"]["template"]
    (container,) = watch["spec"]["containers"]
    told = dict(each.removeprefix("--").split("=", 1) for each in container["args"])
    base = yaml.safe_load(PROFILES["trial"]())["env"]["SEXTANT_LOGS"]
    assert (told["logs"], address) == (base, f"{base}/parcel-labelling")
    host, _, port = told["url"].removeprefix("http://").removesuffix("/").partition(":")
    service = sources["components/inference/service.yaml"]
    assert host == f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc"
    assert int(port) in {each["port"] for each in service["spec"]["ports"]}
    shown = sources[f"overlays/{STEPS_NAMESPACE}/service-watch.yaml"]
    monitor = sources["components/logs/servicemonitor-watch.yaml"]["spec"]
    assert monitor["namespaceSelector"] == {"matchNames": [STEPS_NAMESPACE]}
    assert monitor["selector"]["matchLabels"].items() <= shown["metadata"]["labels"].items()
    assert shown["spec"]["selector"].items() <= watch["metadata"]["labels"].items()
    assert {each["port"] for each in monitor["endpoints"]} == {each["name"] for each in shown["spec"]["ports"]}
    assert told["export"].rpartition(":")[2] == str(container["ports"][0]["containerPort"])


def test_the_log_of_predictions_is_bounded_before_its_volume_is_full(sources: dict[str, Object]) -> None:
    """A pod whose volume outgrows its limit is evicted; the default bound of a plan keeps it from that."""
    patches = yaml.safe_load((MANIFESTS / "components" / "logs" / "inferenceservice.yaml").read_text("utf-8"))
    limits = {each["value"]["name"]: each["value"]["emptyDir"]["sizeLimit"] for each in patches
              if each["path"].endswith("/volumes/-")}  # fmt: skip
    assert int(limits["predictions"].removesuffix("Gi")) * 1024 > PredictionLog().max_megabytes


def test_the_home_is_made_writable_before_the_first_run(sources: dict[str, Object]) -> None:
    """A fresh volume belongs to root, the steps run as the image's user, and KFP cannot ask for a group."""
    profile = yaml.safe_load(PROFILES["trial"]())
    pod = sources[f"overlays/{STEPS_NAMESPACE}/job-prepare-home.yaml"]["spec"]["template"]["spec"]
    dockerfile = (ROOT / "components" / "Dockerfile").read_text("utf-8")
    assert f"USER {pod['securityContext']['runAsUser']}:{pod['securityContext']['fsGroup']}\n" in dockerfile
    (container,) = pod["containers"]
    (mounted,), (volume,) = container["volumeMounts"], pod["volumes"]
    claims = {each["claim"]: each["mount"] for each in profile["volumes"]}
    assert claims[volume["persistentVolumeClaim"]["claimName"]] == mounted["mountPath"] == profile["home"]
    assert container["command"][-1] == profile["data"]


def test_a_compiled_package_holds_the_names_and_no_credential(
    profile: ClusterProfile, secrets: dict[str, dict[str, str]]
) -> None:
    """Every step gets MLflow's address in the open and the stores' credentials by the Secrets' names alone."""
    text = (ROOT / "pipelines" / "lifecycle.yaml").read_text(encoding="utf-8")
    package = for_cluster(text, profile)
    ir, platform = split_documents(package)
    assert platform is not None
    settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for name, executor in ir["deploymentSpec"]["executors"].items():
        told = {each["name"]: each["value"] for each in executor["container"]["env"]}
        assert told.items() >= profile.env.items()
        by_name = {each["secretName"] for each in settings[name]["secretAsEnv"]}
        assert by_name == {"object-store", "feast-stores"}
    assert secrets["object-store"]["AWS_SECRET_ACCESS_KEY"] not in package
    assert secrets["feast-stores"]["FEAST_ONLINE"] not in package


def test_runs_and_servers_look_into_the_same_stores() -> None:
    """Feast keys every row by its project, and a run's is the plan's name."""
    plan = load_plan(ROOT / "examples" / "parcels" / "cluster-plan.yaml")
    served = yaml.safe_load((MANIFESTS / "components" / "feast" / "feature_store.yaml").read_text("utf-8"))
    loaded = yaml.safe_load((MANIFESTS / "overlays" / STEPS_NAMESPACE / "stores.yaml").read_text("utf-8"))
    assert served["project"] == feast_name(plan.name)
    assert loaded.items() <= served.items()
