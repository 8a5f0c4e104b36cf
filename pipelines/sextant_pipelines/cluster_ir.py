"""The cluster's settings, written into a compiled pipeline: what the local runner would ignore is added here alone.

The pipeline that users read and the local runner runs stays free of them (docs/adr/0015-pipelines-on-a-cluster.md).
KFP's own Python objects for these are in a package of its own, whose messages this module writes in their JSON form;
both are defined by kubernetes_platform/proto/kubernetes_executor_config.proto of KFP 2.17.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from sextant_pipelines.cluster_profile import BY_DIGEST, ClusterProfile, StepSettings
from sextant_pipelines.compile import split_documents
from sextant_plan.errors import UsageError

Json = dict[str, Any]
EXECUTOR_PREFIX = "exec-"
SHARED_MEMORY_VOLUME = "shared-memory"
RETRY_BACKOFF_SECONDS = 30  # an evicted pod's node has recovered or its successor is ready after about as long


class UnpinnedImage(UsageError):
    """An image in a pipeline for production that is not named by digest."""

    def __init__(self, step: str, image: str) -> None:
        super().__init__(
            f"step {step}: image {image} is not named by digest, so that nobody could say later what ran. "
            "Name it in the profile as images.train: NAME@sha256:…"
        )


def for_cluster(text: str, profile: ClusterProfile) -> str:
    """Return a compiled pipeline with the profile's images, resources, secrets, volumes and limits.

    The same pipeline and profile give the same bytes. Raises UnpinnedImage unless the profile allows any image.
    """
    ir, platform = split_documents(text)
    ir = copy.deepcopy(ir)
    executors: dict[str, Json] = {}
    for name, executor in sorted(ir["deploymentSpec"]["executors"].items()):
        step = step_of(name)
        settings = profile.settings(step)
        container = executor["container"]
        container["image"] = profile.images.get("train", container["image"])
        if not profile.any_image and not BY_DIGEST.search(container["image"]):
            raise UnpinnedImage(step, container["image"])
        container["env"] = [{"name": key, "value": value} for key, value in _environment(profile, container["image"])]
        resources = _resources(settings)
        if resources:
            container["resources"] = resources
        executors[name] = _executor_config(profile, settings)
    for task, component in _tasks(ir):
        label = component.get("executorLabel")
        if label and (retries := profile.settings(step_of(label)).retries):
            task["retryPolicy"] = _retry_policy(retries)
    documents = [ir, _platform(platform, executors, profile)]
    return yaml.dump_all(documents, Dumper=yaml.CSafeDumper, sort_keys=True, allow_unicode=True)


def step_of(executor: str) -> str:
    """Return the step that an executor of the IR runs."""
    return executor.removeprefix(EXECUTOR_PREFIX).replace("-", "_")


def _environment(profile: ClusterProfile, image: str) -> Iterator[tuple[str, str]]:
    yield from sorted({**profile.env, "SEXTANT_IMAGE": image}.items())


def _resources(settings: StepSettings) -> Json:
    found: Json = {}
    if settings.cpu is not None:
        found |= {"resourceCpuRequest": settings.cpu, "resourceCpuLimit": settings.cpu}
    if settings.memory is not None:
        found |= {"resourceMemoryRequest": settings.memory, "resourceMemoryLimit": settings.memory}
    if settings.gpu:
        found["accelerator"] = {"resourceType": settings.gpu_resource, "resourceCount": str(settings.gpu)}
    return found


def _executor_config(profile: ClusterProfile, settings: StepSettings) -> Json:
    config: Json = {
        "secretAsEnv": [
            {
                **_named("secretName", secret.name),
                "keyToEnv": [{"secretKey": key, "envVar": name} for name, key in sorted(secret.env.items())],
                "optional": False,
            }
            for secret in profile.secrets
            if secret.env
        ],
        "secretAsVolume": [
            {**_named("secretName", secret.name), "mountPath": secret.mount, "optional": False}
            for secret in profile.secrets
            if secret.mount is not None
        ],
        "configMapAsVolume": [
            {**_named("configMapName", each.name), "mountPath": each.mount, "optional": False}
            for each in profile.config_maps
        ],
        "pvcMount": [
            {"constant": each.claim, "pvcNameParameter": _constant(each.claim), "mountPath": each.mount}
            for each in profile.volumes
        ],
        "imagePullSecret": [_named("secretName", name) for name in profile.image_pull_secrets],
        "tolerations": [
            {key: value for key, value in toleration.model_dump().items() if value}
            for toleration in settings.tolerations
        ],
        "nodeSelector": {"labels": settings.node_selector} if settings.node_selector else {},
        "enabledSharedMemory": {"volumeName": SHARED_MEMORY_VOLUME, "size": settings.shared_memory}
        if settings.shared_memory
        else {},
        "activeDeadlineSeconds": str(round(settings.timeout)) if settings.timeout else "",
    }
    return {key: value for key, value in config.items() if value}


def _named(field: str, name: str) -> Json:
    """Return a name in both of its fields: KFP 2.17 writes the deprecated one too, for older backends."""
    return {field: name, f"{field}Parameter": _constant(name)}


def _constant(value: str) -> Json:
    return {"runtimeValue": {"constant": value}}


def _retry_policy(retries: int) -> Json:
    return {
        "maxRetryCount": retries,
        "backoffDuration": f"{RETRY_BACKOFF_SECONDS}s",
        "backoffFactor": 2.0,
        "backoffMaxDuration": "3600s",
    }


def _tasks(ir: Mapping[str, Any]) -> Iterator[tuple[Json, Json]]:
    """Yield every task of every DAG with the component that it runs."""
    components = ir["components"]
    for owner in (ir["root"], *components.values()):
        for task in owner.get("dag", {}).get("tasks", {}).values():
            yield task, components[task["componentRef"]["name"]]


def _platform(found: Mapping[str, Any] | None, executors: dict[str, Json], profile: ClusterProfile) -> Json:
    platform: Json = copy.deepcopy(dict(found)) if found else {}
    kubernetes = platform.setdefault("platforms", {}).setdefault("kubernetes", {})
    kubernetes["deploymentSpec"] = {"executors": {name: config for name, config in executors.items() if config}}
    limits = {"resourceTtlOnCompletion": profile.keep, "activeDeadlineSeconds": profile.deadline}
    settings = {key: round(seconds) for key, seconds in limits.items() if seconds is not None}
    if settings:
        kubernetes["pipelineConfig"] = settings
    return platform
