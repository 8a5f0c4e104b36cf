"""What a cluster profile writes into a pipeline, and what it refuses; the local runner's pipeline stays free of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sextant_pipelines.cli import main
from sextant_pipelines.cluster_ir import UnpinnedImage, for_cluster, step_of
from sextant_pipelines.cluster_profile import BY_DIGEST, REPEATABLE, ProfileError, load_profile
from sextant_pipelines.compile import split_documents
from sextant_pipelines.conformance import problems
from sextant_pipelines.submission import Package, kubernetes_manifest

PIPELINES = ("lifecycle", "retrain", "ingest", "monitor")
FULL = """
pipeline_root: s3://runs/artifacts
service_account: sextant-pipeline
env: {MLFLOW_TRACKING_URI: "http://mlflow.sextant:5000"}
secrets:
  - {name: object-store, env: {AWS_ACCESS_KEY_ID: id, AWS_SECRET_ACCESS_KEY: key}}
  - {name: ca, mount: /etc/ca}
config_maps: [{name: feast-stores, mount: /etc/feast-stores}]
volumes: [{claim: state, mount: /var/lib/sextant}]
image_pull_secrets: [registry]
keep: 7d
deadline: 12h
defaults: {cpu: "1", memory: 2Gi, retries: 2}
steps:
  train:
    {cpu: "4", memory: 16Gi, gpu: 1, shared_memory: 2Gi, timeout: 6h, tolerations: [{key: nvidia.com/gpu}],
     node_selector: {pool: gpu}}
"""
Profile = Callable[..., Path]
Text = Callable[[str], str]


def _documents(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    ir, platform = split_documents(text)
    assert platform is not None
    return ir, platform


def _tasks(ir: dict[str, Any]) -> dict[str, Any]:
    owners = [ir["root"], *ir["components"].values()]
    return {name: task for owner in owners for name, task in owner.get("dag", {}).get("tasks", {}).items()}


@pytest.mark.parametrize("name", PIPELINES)
def test_a_clusters_pipeline_is_read_strictly_by_kfps_own_messages(
    name: str, write_profile: Profile, pipeline_text: Text, proto: Any
) -> None:
    """The backend's parser refuses a field that it does not know; so does this one."""
    from google.protobuf import json_format

    ir, platform = _documents(for_cluster(pipeline_text(name), load_profile(write_profile(FULL))))
    json_format.ParseDict(ir, proto.PipelineSpec())
    json_format.ParseDict(ir["deploymentSpec"], proto.PipelineDeploymentConfig())
    json_format.ParseDict(platform, proto.PlatformSpec())


@pytest.mark.parametrize("name", PIPELINES)
def test_the_base_pipelines_use_nothing_newer_than_the_first_version_of_the_format(
    name: str, pipeline_text: Text
) -> None:
    """An older backend of KFP 2 reads them: schema 2.1.0, one document, only the keys that KFP 2.0 had."""
    ir, platform = split_documents(pipeline_text(name))
    assert (ir["schemaVersion"], platform) == ("2.1.0", None)
    since_2_0 = {
        "components",
        "defaultPipelineRoot",
        "deploymentSpec",
        "pipelineInfo",
        "root",
        "schemaVersion",
        "sdkVersion",
    }
    task_keys = {"cachingOptions", "componentRef", "dependentTasks", "inputs", "taskInfo", "triggerPolicy"}
    assert ir.keys() <= since_2_0
    assert all(task.keys() <= task_keys for task in _tasks(ir).values())
    assert all(set(each["container"]) <= {"image", "command", "args"} for each in _executors(ir).values())


def _executors(ir: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = ir["deploymentSpec"]["executors"]
    return found


@pytest.mark.parametrize("name", PIPELINES)
def test_the_same_profile_gives_the_same_bytes(name: str, write_profile: Profile, pipeline_text: Text) -> None:
    """So that the version's name, a digest of the text, names one package."""
    profile, text = load_profile(write_profile(FULL)), pipeline_text(name)
    assert for_cluster(text, profile) == for_cluster(text, profile)


@pytest.mark.parametrize("name", PIPELINES)
def test_every_image_is_named_by_digest(name: str, write_profile: Profile, pipeline_text: Text) -> None:
    """In the container and in the environment variable that evidence names it by."""
    ir, _ = _documents(for_cluster(pipeline_text(name), load_profile(write_profile())))
    for executor in _executors(ir).values():
        container = executor["container"]
        assert BY_DIGEST.search(container["image"])
        assert {"name": "SEXTANT_IMAGE", "value": container["image"]} in container["env"]


def test_a_tag_is_refused_unless_the_profile_says_otherwise(write_profile: Profile, pipeline_text: Text) -> None:
    """Production names digests; a workshop may say `any_image: true`."""
    with pytest.raises(ProfileError, match="by digest"):
        load_profile(write_profile(image="sextant-train:0.1.0"))
    loose = load_profile(write_profile("any_image: true\n", image="sextant-train:0.1.0"))
    assert "sextant-train:0.1.0" in for_cluster(pipeline_text("monitor"), loose)
    pinned = load_profile(write_profile()).model_copy(update={"images": {}})
    with pytest.raises(UnpinnedImage, match="nobody could say later what ran"):
        for_cluster(pipeline_text("monitor"), pinned)


def test_a_steps_settings_are_where_kubernetes_reads_them(write_profile: Profile, pipeline_text: Text) -> None:
    """GPU, memory and processors in the container; the rest in the platform's part of the step."""
    ir, platform = _documents(for_cluster(pipeline_text("lifecycle"), load_profile(write_profile(FULL))))
    assert _executors(ir)["exec-train"]["container"]["resources"] == {
        "resourceCpuRequest": "4",
        "resourceCpuLimit": "4",
        "resourceMemoryRequest": "16Gi",
        "resourceMemoryLimit": "16Gi",
        "accelerator": {"resourceType": "nvidia.com/gpu", "resourceCount": "1"},
    }
    kubernetes = platform["platforms"]["kubernetes"]
    train = kubernetes["deploymentSpec"]["executors"]["exec-train"]
    assert train["activeDeadlineSeconds"] == "21600"
    assert train["enabledSharedMemory"] == {"volumeName": "shared-memory", "size": "2Gi"}
    assert train["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    assert train["nodeSelector"] == {"labels": {"pool": "gpu"}}
    assert train["pvcMount"][0]["mountPath"] == "/var/lib/sextant"
    (stores,) = train["configMapAsVolume"]
    assert (stores["configMapName"], stores["mountPath"]) == ("feast-stores", "/etc/feast-stores")
    assert "tolerations" not in kubernetes["deploymentSpec"]["executors"]["exec-ingest"]
    assert kubernetes["pipelineConfig"] == {"resourceTtlOnCompletion": 604800, "activeDeadlineSeconds": 43200}


def test_resources_are_written_as_kfps_own_compiler_writes_them(
    write_profile: Profile, pipeline_text: Text, tmp_path: Path
) -> None:
    """KFP's setters on a task of the same step give the same fields."""
    from kfp import compiler, dsl

    from sextant_pipelines import steps

    @dsl.pipeline(name="kfp")  # KFP reads annotations as objects, which this file's are not
    def by_kfp():  # type: ignore[no-untyped-def]
        task = steps.conclude(run_uri="/run").set_cpu_request("4").set_cpu_limit("4")
        task.set_memory_request("16Gi").set_memory_limit("16Gi")
        task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(1).set_retry(2, "30s", 2.0, "3600s")

    compiler.Compiler().compile(by_kfp, str(tmp_path / "kfp.yaml"))
    theirs, _ = split_documents((tmp_path / "kfp.yaml").read_text())
    ours, _ = _documents(for_cluster(pipeline_text("lifecycle"), load_profile(write_profile(FULL))))
    found = _executors(theirs)["exec-conclude"]["container"]["resources"]
    written = _executors(ours)["exec-train"]["container"]["resources"]
    assert {key: found[key] for key in written if key != "accelerator"} == {
        key: value for key, value in written.items() if key != "accelerator"
    }
    assert found["accelerator"].items() >= written["accelerator"].items()
    assert _tasks(theirs)["conclude"]["retryPolicy"].keys() == _tasks(ours)["train"]["retryPolicy"].keys()


def test_only_steps_that_may_run_twice_are_retried(write_profile: Profile, pipeline_text: Text) -> None:
    """The defaults' retries reach no step that changes what is live, and naming one there is refused."""
    ir, _ = _documents(for_cluster(pipeline_text("lifecycle"), load_profile(write_profile(FULL))))
    retried = {
        step_of(ir["components"][task["componentRef"]["name"]]["executorLabel"])
        for task in _tasks(ir).values()
        if "retryPolicy" in task
    }
    assert retried == REPEATABLE - {"monitor"}
    with pytest.raises(ProfileError, match="roll_out is not retried"):
        load_profile(write_profile("steps: {roll_out: {retries: 1}}\n"))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("stores: x\n", ":5:1: stores: "),
        ("steps: {trane: {cpu: '1'}}\n", "there is no step trane"),
        ("env: {AWS_SECRET_ACCESS_KEY: abc}\n", "name it under secrets"),
        ("secrets: [{name: s}]\n", "a secret goes to env or to mount"),
        ("defaults: {memory: lots}\n", "defaults.memory"),
    ],
    ids=["unknown-key", "unknown-step", "credential", "idle-secret", "quantity"],
)
def test_a_fault_in_the_profile_is_told_with_its_line(write_profile: Profile, more: str, said: str) -> None:
    """File, line, key and what to do; a credential in the open is one, and its value is not repeated."""
    with pytest.raises(ProfileError) as caught:
        load_profile(write_profile(more))
    assert said in str(caught.value)
    assert "abc" not in str(caught.value)


@pytest.mark.parametrize("name", PIPELINES)
def test_no_credential_is_in_the_package(
    name: str, write_profile: Profile, pipeline_text: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Secrets are there by their names alone, whatever the submitting machine's environment holds."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalr-the-secret")
    monkeypatch.setenv("KF_PIPELINES_TOKEN", "eyJ-the-token")
    text = for_cluster(pipeline_text(name), load_profile(write_profile(FULL)))
    assert "the-secret" not in text
    assert "the-token" not in text
    assert "secretName: object-store" in text
    ir, _ = _documents(text)
    parameters = ir["root"]["inputDefinitions"]["parameters"]
    assert not [key for key in parameters if re.search("secret|key|token|password", key)]


@pytest.mark.parametrize("name", PIPELINES)
def test_a_clusters_pipeline_breaks_only_the_rules_on_what_the_local_runner_ignores(
    name: str, write_profile: Profile, pipeline_text: Text
) -> None:
    """Everything else that holds for the local pipeline holds here too."""
    found = problems(*_documents(for_cluster(pipeline_text(name), load_profile(write_profile(FULL)))))
    assert {problem.rule for problem in found} == {"resource limits", "Kubernetes setting"}


def test_the_manifest_is_two_objects_with_the_same_package(write_profile: Profile, pipeline_text: Text) -> None:
    """A Pipeline and its PipelineVersion, named alike, in the namespace, holding both documents."""
    package = Package("sextant-monitor", for_cluster(pipeline_text("monitor"), load_profile(write_profile(FULL))))
    pipeline, version = yaml.safe_load_all(kubernetes_manifest(package, "ada"))
    assert [each["kind"] for each in (pipeline, version)] == ["Pipeline", "PipelineVersion"]
    assert {each["metadata"]["namespace"] for each in (pipeline, version)} == {"ada"}
    assert version["spec"]["pipelineName"] == pipeline["metadata"]["name"] == "sextant-monitor"
    assert version["metadata"]["name"] == package.version
    ir, platform = _documents(package.text)
    assert version["spec"]["pipelineSpec"]["root"] == ir["root"]
    assert json.dumps(version["spec"]["platformSpec"], sort_keys=True).count("exec-monitor") == 1
    assert platform["platforms"].keys() == version["spec"]["platformSpec"]["platforms"].keys()


def test_kfp_run_create_takes_the_rendered_package_and_its_arguments(
    backend: Any, write_profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both commands of the how-to, against the stand-in: the package and the two arguments arrive as they are."""
    import warnings

    from click.testing import CliRunner
    from kfp.cli.cli import cli

    monkeypatch.setenv("HOME", str(tmp_path))
    package = tmp_path / "lifecycle.yaml"
    render = ["render", "pipeline", "--pipeline", "lifecycle", "--profile", str(write_profile(FULL))]
    assert main([*render, "-o", str(package)]) == 0
    arguments = ["--endpoint", backend.url, "run", "create", "--experiment-name", "tiny", "--run-name", "one"]
    arguments += ["--package-file", str(package), "run_uri=/runs/one", "run_id=one"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # KFP's client warns that it needs a backend of version 2
        result = CliRunner().invoke(cli, arguments, obj={})
    assert result.exit_code == 0, (result.output, result.exception, backend.requests)
    (run,) = backend.kept["runs"]
    assert run["runtime_config"]["parameters"] == {"run_uri": "/runs/one", "run_id": "one"}
    spec = run["pipeline_spec"]
    assert spec["pipeline_spec"]["pipelineInfo"]["name"] == "lifecycle"
    settings = spec["platform_spec"]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert spec["pipeline_spec"]["deploymentSpec"]["executors"].keys() == settings.keys()
