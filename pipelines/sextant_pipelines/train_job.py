"""The train step as a TrainJob of Kubeflow Trainer: torchrun on each node, over a volume that all of them mount."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sextant_plan.schema import Plan

VOLUME, MOUNT = "runs", "/runs"
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
    """Return the TrainJob (YAML). Its runtime is `torch-distributed`, which Kubeflow Trainer installs."""
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
            "podTemplateOverrides": [_overrides(placement)],
        },
    }
    return yaml.safe_dump(job, sort_keys=False)


def _overrides(placement: Placement) -> dict[str, object]:
    """Return what the runtime's pods get besides: the shared volume, and a user that is not root."""
    return {
        "targetJobs": [{"name": "node"}],
        "spec": {
            "securityContext": {"runAsNonRoot": True, "runAsUser": USER, "fsGroup": USER},
            "volumes": [{"name": VOLUME, "persistentVolumeClaim": {"claimName": placement.claim}}],
            "containers": [{"name": "node", "volumeMounts": [{"name": VOLUME, "mountPath": MOUNT}]}],
        },
    }
