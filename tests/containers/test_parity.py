"""The digits' life cycle in containers, as Kubeflow Pipelines runs each task, proves what a laptop's run proves.

Compared is evidence: a record's id is the digest of what it says. What a run measures by the clock is its own, and is
named here record by record; of such a record everything but the measured numbers is still held equal.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.containers.launcher import Store
from tests.containers.pod import Image
from tests.containers.workshop import ONE_THREAD, Workshop
from tests.evidence import DATED, MEASURED, differences

from sextant_components.context import Step
from sextant_plan.ledger import Record, read_run

pytestmark = [pytest.mark.containers, pytest.mark.timeout(3600)]
ROOT = Path(__file__).parents[2]
RUN_ID = "parity"
# What the plan holds against the clock, on a machine that does other work too, and the choice of an engine by speed.
UNHURRIED = {
    "metric: latency_p99_ms, at_most: 100,": "metric: latency_p99_ms, at_most: 10000,",
    "latency_slo_ms: 100": "latency_slo_ms: 10000",
    "deadline: 2s": "deadline: 60s",
    "budget: 2s": "budget: 60s",
    "engines: [torch-safetensors, onnx]": "engines: [onnx]",
}


@dataclass(frozen=True)
class Both:
    """One plan's run on this machine and in containers."""

    local: dict[str, list[Record]]
    contained: dict[str, list[Record]]
    folder: Path
    workshop: Workshop


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, image: Image) -> Both:
    """Run the digits' plan in both places, each with a home of its own; the containers have no network."""
    folder = tmp_path_factory.mktemp("parity")
    source = folder / "source"
    source.mkdir()
    plan = source / "plan.yaml"
    text = (ROOT / "examples" / "digits" / "plan.yaml").read_text(encoding="utf-8")
    for hurried, unhurried in UNHURRIED.items():
        assert text.count(hurried) == 1
        text = text.replace(hurried, unhurried)
    plan.write_text(text, encoding="utf-8")
    subprocess.run([sys.executable, "-m", "sextant_examples.digits", str(source / "data")], check=True)
    command = [sys.executable, "-m", "sextant_pipelines.cli", "run", str(plan), "--home", str(folder / "home")]
    command += ["--run-id", RUN_ID]
    env = {**os.environ, **ONE_THREAD}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    workshop = Workshop(folder / "cluster", image, plan, source, Store.in_folder(folder / "buckets"))
    succeeded, _ = workshop.carry_out(workshop.begin(RUN_ID))
    assert succeeded, workshop.everything_printed()
    local = folder / "home" / "runs" / RUN_ID
    return Both(read_run(local), read_run(workshop.run_folder(RUN_ID)), folder, workshop)


@pytest.mark.parametrize("step", [step.value for step in Step])
def test_a_step_proves_the_same_in_a_container(both: Both, step: str) -> None:
    """The same records in the same order, with the same ids but for what the clock measured."""
    assert differences(both.local[step], both.contained[step], (*MEASURED, *DATED)) == []


def test_the_exit_steps_leave_the_same_conclusion(both: Both) -> None:
    """Each run concludes with a pass, and its dossier is there."""
    for folder in (both.folder / "home" / "runs" / RUN_ID, both.workshop.run_folder(RUN_ID)):
        conclusion = json.loads((folder / "conclusion.json").read_bytes())
        assert (conclusion["verdict"], conclusion["exit_code"], conclusion["not_reached"]) == ("pass", 0, [])
        assert (folder / "dossier.html").stat().st_size > 10_000


def test_a_window_is_judged_in_containers_too(both: Both) -> None:
    """Nothing was logged: unknown, so that `conclude` fails the pipeline; the exit step leaves the dossier."""
    submission = both.workshop.begin("window", "monitor")
    succeeded, backend = both.workshop.carry_out(submission)
    ended = {step: given.ended.code for step, given in backend.given.items()}
    assert (succeeded, ended.pop("conclude") == 0) == (False, False)
    assert ended == {"monitor": 0, "close": 0}, both.workshop.everything_printed()
    folder = both.workshop.run_folder("window")
    assert json.loads((folder / "conclusion.json").read_bytes())["exit_code"] == 3
    assert (folder / "dossier.html").exists()
