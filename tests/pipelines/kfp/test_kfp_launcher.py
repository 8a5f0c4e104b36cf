"""What the trigger asks of Kubeflow Pipelines: one run for a request, of the right pipeline, and how far it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sextant_monitoring.launcher import Outcome, TimeWindow
from sextant_pipelines.cluster_profile import load_profile
from sextant_pipelines.compile import split_documents
from sextant_pipelines.kfp_server import KfpServer
from sextant_pipelines.launchers import KfpLauncher

WINDOW = TimeWindow.parse("2026-01-01T10:00:00Z/2026-01-01T11:00:00Z")


@pytest.fixture
def launcher(backend: Any, plan_path: Path, write_profile: Callable[..., Path]) -> KfpLauncher:
    """A launcher against the stand-in."""
    return KfpLauncher(plan_path, load_profile(write_profile()), KfpServer(backend.url))


def _described(store: Path, request: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((store / request / "run.json").read_text(encoding="utf-8"))
    return {name: found[name] for name in ("pipeline", "wider")}


def test_a_retraining_is_one_run_with_its_window(backend: Any, launcher: KfpLauncher, tmp_path: Path) -> None:
    """However often it is asked for: the retrain pipeline, the window as its input."""
    for _ in range(2):
        launcher.start("retrain-1", WINDOW)
    (run,) = backend.kept["runs"]
    assert run["display_name"] == "retrain-1"
    assert run["runtime_config"]["parameters"]["window"] == str(WINDOW)
    assert _described(tmp_path / "store", "retrain-1") == {"pipeline": "retrain", "wider": False}
    assert split_documents(backend.uploads[0])[0]["pipelineInfo"]["name"] == "retrain"


def test_a_change_of_architecture_is_one_wider_life_cycle(
    backend: Any, launcher: KfpLauncher, tmp_path: Path
) -> None:  # fmt: skip
    """The whole life cycle, whose steps read from the run's file that the wider candidates compete."""
    for _ in range(2):
        launcher.change_architecture("retrain-2")
    (run,) = backend.kept["runs"]
    assert run["runtime_config"]["parameters"] == {"run_uri": f"{tmp_path}/store/retrain-2", "run_id": "retrain-2"}
    assert _described(tmp_path / "store", "retrain-2") == {"pipeline": "lifecycle", "wider": True}
    assert split_documents(backend.uploads[0])[0]["pipelineInfo"]["name"] == "lifecycle"


@pytest.mark.parametrize(
    ("state", "code", "outcome"),
    [
        ("RUNNING", None, Outcome.RUNNING),
        ("SUCCEEDED", None, Outcome.PASSED),
        ("FAILED", 1, Outcome.NOT_PASSED),
        ("FAILED", 3, Outcome.NOT_PASSED),
        ("FAILED", 4, Outcome.BROKEN),
        ("FAILED", None, Outcome.BROKEN),
    ],
    ids=["runs", "passed", "gate-failed", "gate-unknown", "infrastructure", "nothing-recorded"],
)
def test_the_outcome_is_the_backends_and_then_the_runs_own(
    *, backend: Any, launcher: KfpLauncher, tmp_path: Path, state: str, code: int | None, outcome: Outcome
) -> None:
    """KFP says only that a run failed; by which verdict stands in what the run recorded."""
    launcher.start("retrain-1", WINDOW)
    backend.script = [{"state": state}]
    if code is not None:
        (tmp_path / "store" / "retrain-1" / "conclusion.json").write_text(json.dumps({"exit_code": code}))
    assert launcher.outcome("retrain-1") is outcome


def test_a_staged_version_is_no_failure_of_the_plan(backend: Any, launcher: KfpLauncher, tmp_path: Path) -> None:
    """It waits for traffic alone: counted as failures, three good retrainings in a row would reopen planning."""
    launcher.start("retrain-1", WINDOW)
    backend.script = [{"state": "FAILED"}]
    conclusion = {"exit_code": 3, "steps": {"decide": "pass", "roll_out": "unknown"}}
    (tmp_path / "store" / "retrain-1" / "conclusion.json").write_text(json.dumps(conclusion))
    assert launcher.outcome("retrain-1") is Outcome.PASSED


def test_a_request_that_the_backend_does_not_know_is_broken(launcher: KfpLauncher) -> None:
    """It may be started anew."""
    assert launcher.outcome("retrain-9") is Outcome.BROKEN
