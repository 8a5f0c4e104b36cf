"""The helpers of a search as an indexed Job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from tests.manifests.conftest import Schemas

from sextant_pipelines.search_job import Helpers, render_search_job
from sextant_plan.loading import load_plan

PLAN = Path(__file__).parents[2] / "examples" / "tiny" / "plan.yaml"


def _job() -> dict[str, Any]:
    helpers = Helpers(3, "study", "runs-claim", "r/1", "r/snapshot", "r/splits")
    job: dict[str, Any] = yaml.safe_load(render_search_job(load_plan(PLAN), helpers, image="train:1"))
    return job


def test_the_search_job_is_one_that_kubernetes_takes(schemas: Schemas) -> None:
    """Every field is one that the API has."""
    job = _job()
    assert schemas.faults(job) == []
    assert (job["spec"]["completionMode"], job["spec"]["completions"], job["spec"]["parallelism"]) == ("Indexed", 3, 3)


def test_each_pod_reads_the_study_from_a_secret_and_the_rows_from_the_volume() -> None:
    """The address with its password is in no manifest; the folders are those of the mounted claim."""
    (container,) = _job()["spec"]["template"]["spec"]["containers"]
    (storage,) = container["env"]
    assert storage["name"] == "SEXTANT_STUDY_STORAGE"
    assert storage["valueFrom"] == {"secretKeyRef": {"name": "study", "key": "url"}}
    assert container["args"] == ["/runs/r/1", "--snapshot=/runs/r/snapshot", "--splits=/runs/r/splits"]
