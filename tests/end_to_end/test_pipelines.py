"""The pipelines beside the life cycle on this machine: each ends with a verdict of its own, and a dossier."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(600)]
WINDOW = "2026-01-01T10:00:00Z/2026-01-01T11:00:00Z"


def test_a_window_without_a_model_in_service_is_unknown(workshop: Any) -> None:
    """Exit 3, the one step that the pipeline has, and a dossier; nothing of the life cycle is said to be missing."""
    done = workshop.run("run", "--pipeline", "monitor", "--window", WINDOW, "--run-id", "watch", "--json")
    result = json.loads(done.stdout)
    assert done.returncode == 3, done.stdout + done.stderr
    assert [step["step"] for step in result["steps"]] == ["watch"]
    assert Path(result["dossier"]).exists()
    conclusion = json.loads((workshop.home / "runs" / "watch" / "conclusion.json").read_bytes())
    assert (conclusion["verdict"], conclusion["not_reached"]) == ("unknown", [])


def test_a_retraining_without_an_evaluated_plan_stops_after_ingest(workshop: Any) -> None:
    """No run has frozen this plan, so a retraining is no way around its planning phase: exit 3, nothing trained."""
    done = workshop.run("run", "--pipeline", "retrain", "--window", WINDOW, "--run-id", "again", "--json")
    result = json.loads(done.stdout)
    assert done.returncode == 3, done.stdout + done.stderr
    assert [step["step"] for step in result["steps"]] == ["ingest"]
    assert "plan in force" in {check["task"] for check in result["checks"]}
    assert not (workshop.home / "active.json").exists()


@pytest.mark.slow
def test_an_ingest_takes_and_verifies_a_snapshot_and_trains_nothing(workshop: Any) -> None:
    """Exit 0 after two steps: the data's new version is known, and no model was made of it."""
    done = workshop.run("run", "--pipeline", "ingest", "--run-id", "nightly", "--json")
    result = json.loads(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [step["step"] for step in result["steps"]] == ["ingest", "verify"]
    conclusion = json.loads((workshop.home / "runs" / "nightly" / "conclusion.json").read_bytes())
    assert (conclusion["verdict"], conclusion["not_reached"]) == ("pass", [])
    assert not (workshop.home / "active.json").exists()
