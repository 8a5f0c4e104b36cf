"""The train step as a TrainJob: torchrun over one shared volume, as no root."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from sextant_pipelines.train_job import Placement, render_train_job
from sextant_plan.loading import load_plan

PLAN = Path(__file__).parents[2] / "examples" / "tiny" / "plan.yaml"


def _job() -> dict[str, Any]:
    placement = Placement(2, 4, "runs-claim", "r/1", "r/snapshot", "r/splits", "r/model")
    job: dict[str, Any] = yaml.safe_load(render_train_job(load_plan(PLAN), placement, image="train:1"))
    return job


def test_every_process_gets_the_same_folders() -> None:
    """The command is the one that runs under torchrun by hand, with folders on the mounted claim."""
    job = _job()
    trainer = job["spec"]["trainer"]
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (2, 4)
    assert trainer["command"] == ["torchrun", "-m", "sextant_pipelines.train_team"]
    assert trainer["args"] == [
        "/runs/r/1",
        "--snapshot=/runs/r/snapshot",
        "--splits=/runs/r/splits",
        "--model=/runs/r/model",
    ]
    (patch,) = job["spec"]["runtimePatches"]
    (node,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    pod = node["template"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == "runs-claim"


def test_the_job_is_one_that_the_trainers_own_types_know() -> None:
    """Read by the typed models of Kubeflow Trainer and written again it is the same: no field of ours is unknown."""
    from kubeflow_trainer_api.models.trainer_v1alpha1_train_job import TrainerV1alpha1TrainJob

    job = _job()
    read = TrainerV1alpha1TrainJob.from_dict(job)
    assert read is not None
    assert read.to_dict() == job
