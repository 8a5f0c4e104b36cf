"""The train step as a TrainJob: torchrun over one shared volume, as no root."""

from __future__ import annotations

from pathlib import Path

import yaml

from sextant_pipelines.train_job import Placement, render_train_job
from sextant_plan.loading import load_plan

PLAN = Path(__file__).parents[2] / "examples" / "tiny" / "plan.yaml"


def test_every_process_gets_the_same_folders() -> None:
    """The command is the one that runs under torchrun by hand, with folders on the mounted claim."""
    placement = Placement(2, 4, "runs-claim", "r/1", "r/snapshot", "r/splits", "r/model")
    job = yaml.safe_load(render_train_job(load_plan(PLAN), placement, image="train:1"))
    trainer = job["spec"]["trainer"]
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (2, 4)
    assert trainer["command"] == ["torchrun", "-m", "sextant_pipelines.train_team"]
    assert trainer["args"] == [
        "/runs/r/1",
        "--snapshot=/runs/r/snapshot",
        "--splits=/runs/r/splits",
        "--model=/runs/r/model",
    ]
    (override,) = job["spec"]["podTemplateOverrides"]
    assert override["spec"]["securityContext"]["runAsNonRoot"] is True
    assert override["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == "runs-claim"
