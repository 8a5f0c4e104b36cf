"""The train step as a TrainJob of Kubeflow Trainer: torchrun on each node, over a volume that all of them mount."""

from __future__ import annotations

import math
from dataclasses import dataclass

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
    hardware = plan.serving.hardware
    resources: dict[str, str] = {"cpu": str(max(placement.processes, math.ceil(hardware.cpu))), "memory": "8Gi"}
    if hardware.gpu:
        resources["nvidia.com/gpu"] = str(placement.processes)
    labels = {
        "app.kubernetes.io/name": plan.name,
        "app.kubernetes.io/component": "train",
        "app.kubernetes.io/part-of": "sextant",
    }
    job = {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"generateName": f"{plan.name}-train-", "labels": labels},
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
            "runtimePatches": [{"manager": MANAGER, "trainingRuntimeSpec": _for_pods_of("node", _pod(placement))}],
        },
    }
    return yaml.safe_dump(job, sort_keys=False)


def _for_pods_of(job: str, pod: dict[str, object]) -> dict[str, object]:
    """Return the patch of a training runtime that reaches the pods of one of its jobs."""
    replicated = {"name": job, "template": {"spec": {"template": {"spec": pod}}}}
    return {"template": {"spec": {"replicatedJobs": [replicated]}}}


def _pod(placement: Placement) -> dict[str, object]:
    """Return what the runtime's pods get besides: the shared volume, and a user that is not root."""
    return {
        "securityContext": {"runAsNonRoot": True, "runAsUser": USER, "fsGroup": USER},
        "volumes": [{"name": VOLUME, "persistentVolumeClaim": {"claimName": placement.claim}}],
        "containers": [{"name": "node", "volumeMounts": [{"name": VOLUME, "mountPath": MOUNT}]}],
    }
