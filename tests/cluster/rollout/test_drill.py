"""`sextant drill --namespace`: a pod of a real service is taken, missed, and replaced."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sextant_plan.drills import last_drills
from sextant_plan.types import DrillName
from sextant_plan.verdicts import Verdict

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
NAME = "tiny"  # of the plan whose life cycle trained the bundle


@pytest.fixture(scope="module")
def service(workshop: Any, trained_bundle: Path) -> Iterator[str]:
    """The tiny plan's, with a network whose warm-up outlasts a few scrapes, so that Prometheus sees each outage."""
    with workshop.services(**{NAME: workshop.changed_bundle(trained_bundle, slow=1500)}):
        yield NAME


def hold(workshop: Any, folder: Path) -> dict[str, Any]:
    """Hold the drill as people do, with the home in `folder`, and return its outcome."""
    command = [
        sys.executable, "-m", "sextant_pipelines.cli", "drill", "dead-pod", "--json",
        "--plan", str(folder / "plan.yaml"), "--home", str(folder / "home"),
        "--namespace", workshop.cluster.namespace, "--prometheus", workshop.prometheus,
        "--url", workshop.predictor_url(NAME, "blue"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (outcome,) = json.loads(done.stdout)
    assert outcome["facts"]["namespace"] == workshop.cluster.namespace
    return dict(outcome)


def test_the_only_pod_is_missed_by_the_alert_and_replaced(
    workshop: Any, service: str, trained_bundle: Path, record_property: Any
) -> None:
    """By the plan's own alert in Prometheus; clients see the gap, and the outcome is evidence for promotions."""
    outcome = hold(workshop, trained_bundle.parent)
    record_property("noticed after", outcome["detected_after"])
    record_property("over after", outcome["recovered_after"])
    assert "ready" in outcome["detected_by"]
    assert 0 < outcome["detected_after"] <= outcome["recovered_after"]
    assert 0 < outcome["failed"] < outcome["requests"]
    held = last_drills(trained_bundle.parent / "home", NAME)[DrillName.DEAD_POD]
    assert (held.verdict, held.outcome.profile) == (Verdict.PASS, "cluster")


@pytest.mark.slow
def test_one_of_two_pods_is_missed_by_the_cluster(workshop: Any, service: str, trained_bundle: Path) -> None:
    """The other one answers, so that no alert is due."""
    two = json.dumps({"spec": {"predictor": {"minReplicas": 2}}})
    workshop.cluster.kubectl("patch", "inferenceservice", service, "--type=merge", "-p", two)
    deployment = f"deployment/{service}-blue-predictor"
    workshop.cluster.kubectl("wait", deployment, "--for=jsonpath={.status.readyReplicas}=2", "--timeout=180s")
    outcome = hold(workshop, trained_bundle.parent)
    assert outcome["facts"]["pods"] == 2
    assert outcome["detected_by"].startswith("the cluster")
    assert outcome["recovered_after"] is not None
