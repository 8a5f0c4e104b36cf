"""The train step as a TrainJob of Kubeflow Trainer: torchrun on each node, over a volume that all of them mount."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from sextant_plan.schema import Plan

VOLUME, MOUNT = "runs", "/runs"
MANAGER = "sextant.dev/train-job"  # whose patch of the runtime it is
USER = 65532  # of the images; as everywhere in the manifests


@dataclass(frozen=True)
class Placement:
    """Where the step runs: nodes, processes on each, the volume claim, and the folders on that volume."""

    nodes: int
    processes: int
    claim: str
    run: str
    snapshot: str
    splits: str
    model: str


def render_train_job(plan: Plan, placement: Placement, *, image: str) -> str:
    """Return the TrainJob (YAML). Its runtime is `torch-distributed`, which Kubeflow Trainer installs.

    `runtimePatches` came with Kubeflow Trainer 2.2; before it the field had another name, which 2.2 took away.
    """
    import yaml

    folders = {name: f"{MOUNT}/{getattr(placement, name)}" for name in ("run", "snapshot", "splits", "model")}
    options = [f"--{name}={folders[name]}" for name in ("snapshot", "splits", "model")]
    resources = step_resources(plan, processes=placement.processes)
    job = {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"generateName": f"{plan.name}-train-", "labels": step_labels(plan, "train")},
        "spec": {
            "runtimeRef": {"name": "torch-distributed"},
            "trainer": {
                "image": image,
                "command": ["torchrun", "-m", "sextant_pipelines.train_team"],
                "args": [folders["run"], *options],
                "numNodes": placement.nodes,
                "numProcPerNode": placement.processes,
                "resourcesPerNode": {"requests": resources, "limits": resources},
            },
            "runtimePatches": [{"manager": MANAGER, "trainingRuntimeSpec": _for_pods_of("node", placement.claim)}],
        },
    }
    return yaml.safe_dump(job, sort_keys=False)


def step_labels(plan: Plan, component: str) -> dict[str, str]:
    """Return the recommended labels of what runs one step of a plan."""
    return {
        "app.kubernetes.io/name": plan.name,
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/part-of": "sextant",
    }


def step_resources(plan: Plan, *, processes: int) -> dict[str, str]:
    """Return what a pod of so many training processes asks for: one GPU each where the plan serves on GPUs."""
    hardware = plan.serving.hardware
    resources = {"cpu": str(max(processes, math.ceil(hardware.cpu))), "memory": "8Gi"}
    if hardware.gpu:
        resources["nvidia.com/gpu"] = str(processes)
    return resources


def _for_pods_of(job: str, claim: str) -> dict[str, object]:
    """Return the patch of a training runtime that reaches the pods of one of its jobs, whose container has its name."""
    replicated = {"name": job, "template": {"spec": {"template": {"spec": pod_on_volume(job, claim)}}}}
    return {"template": {"spec": {"replicatedJobs": [replicated]}}}


def pod_on_volume(container: str, claim: str) -> dict[str, Any]:
    """Return the part of a pod's spec that mounts the shared volume for a user that is not root."""
    return {
        "securityContext": {"runAsNonRoot": True, "runAsUser": USER, "fsGroup": USER},
        "volumes": [{"name": VOLUME, "persistentVolumeClaim": {"claimName": claim}}],
        "containers": [{"name": container, "volumeMounts": [{"name": VOLUME, "mountPath": MOUNT}]}],
    }
