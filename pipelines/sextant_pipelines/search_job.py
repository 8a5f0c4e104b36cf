"""The helpers of a search as an indexed Job: pods that share one Optuna study in PostgreSQL with the train step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sextant_components.modelling.studies import STORAGE
from sextant_pipelines.train_job import MOUNT, VOLUME, pod_on_volume, step_labels, step_resources
from sextant_plan.schema import Plan

CONTAINER = "search"
SCRATCH = "scratch"
RESTARTS = 3  # of each pod before the Job gives its index up; the others go on


@dataclass(frozen=True)
class Helpers:
    """How many pods help, the secret whose key `url` names the study's database, the volume claim and its folders."""

    pods: int
    secret: str
    claim: str
    run: str
    snapshot: str
    splits: str


def render_search_job(plan: Plan, helpers: Helpers, *, image: str) -> str:
    """Return the Job (YAML). A pod's index is its helper's number; each ends when the study has the plan's trials."""
    import yaml

    labels = step_labels(plan, "search")
    pod = pod_on_volume(CONTAINER, helpers.claim)
    pod["restartPolicy"] = "Never"  # so that each failure is a pod to look at
    pod["automountServiceAccountToken"] = False
    pod["securityContext"] = {**pod["securityContext"], "seccompProfile": {"type": "RuntimeDefault"}}
    pod["volumes"] = [*pod["volumes"], {"name": SCRATCH, "emptyDir": {}}]
    pod["containers"] = [{**pod["containers"][0], **_container(plan, helpers, image)}]
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"generateName": f"{plan.name}-search-", "labels": labels},
        "spec": {
            "completionMode": "Indexed",
            "completions": helpers.pods,
            "parallelism": helpers.pods,
            "backoffLimitPerIndex": RESTARTS,
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
    return yaml.safe_dump(job, sort_keys=False)


def _container(plan: Plan, helpers: Helpers, image: str) -> dict[str, Any]:
    resources = step_resources(plan, processes=1)
    folders = [f"--{name}={MOUNT}/{getattr(helpers, name)}" for name in ("snapshot", "splits")]
    return {
        "image": image,
        "command": ["python", "-m", "sextant_components.modelling.search_helper"],
        "args": [f"{MOUNT}/{helpers.run}", *folders],
        "env": [{"name": STORAGE, "valueFrom": {"secretKeyRef": {"name": helpers.secret, "key": "url"}}}],
        "resources": {"requests": resources, "limits": resources},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": VOLUME, "mountPath": MOUNT}, {"name": SCRATCH, "mountPath": "/tmp"}],  # noqa: S108
    }
