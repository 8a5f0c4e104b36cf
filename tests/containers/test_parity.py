"""The digits' life cycle in containers, as Kubeflow Pipelines runs each task, proves what a laptop's run proves.

Compared is evidence: a record's id is the digest of what it says. What a run measures by the clock is its own, and is
named here record by record; of such a record everything but the measured numbers is still held equal.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.containers.launcher import Store
from tests.containers.pod import Image
from tests.containers.workshop import ONE_THREAD, Workshop
from tests.evidence import DATED, MEASURED, differences

from sextant_components.runs.context import Step
from sextant_plan.ledger import Record, read_run
from sextant_serving.launch import running_server

pytestmark = [pytest.mark.containers, pytest.mark.timeout(3600)]
ROOT = Path(__file__).parents[2]
RUN_ID = "parity"
# What the plan holds against the clock, on a machine that does other work too, and the choice of an engine by speed;
# and every answer is logged.
UNHURRIED = {
    "metric: latency_p99_ms, at_most: 100,": "metric: latency_p99_ms, at_most: 10000,",
    "deadline: 2s": "deadline: 60s",
    "budget: 2s": "budget: 60s",
    "engines: [torch-safetensors, onnx]": "engines: [onnx]",
    "latency_slo_ms: 100\n": "latency_slo_ms: 10000\n  log: {sample: 1}\n",
}
SILENCE = "2026-01-01T10:00:00Z/2026-01-01T11:00:00Z"
PICTURES = 300  # more than the plan's least number of rows in a window


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
    done = _sextant(folder, "run", "--run-id", RUN_ID)
    assert done.returncode == 0, done.stdout + done.stderr
    workshop = Workshop(folder / "cluster", image, plan, source, Store.in_folder(folder / "buckets"))
    succeeded, _ = workshop.carry_out(workshop.begin(RUN_ID))
    assert succeeded, workshop.everything_printed()
    local = folder / "home" / "runs" / RUN_ID
    return Both(read_run(local), read_run(workshop.run_folder(RUN_ID)), folder, workshop)


def _sextant(folder: Path, command: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a command on the local plan in the local home."""
    words = [sys.executable, "-m", "sextant_pipelines.cli", command, str(folder / "source" / "plan.yaml")]
    words += ["--home", str(folder / "home"), *options]
    env = {**os.environ, **ONE_THREAD}
    return subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, check=False)


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


def test_a_window_of_silence_is_unknown(both: Both) -> None:
    """Nothing was logged, so that `conclude` fails the pipeline; the exit step leaves the dossier."""
    submission = both.workshop.begin("silence", "monitor", window=SILENCE)
    succeeded, backend = both.workshop.carry_out(submission)
    ended = {step: given.ended.code for step, given in backend.given.items()}
    assert (succeeded, ended.pop("conclude") == 0) == (False, False)
    assert ended == {"monitor": 0, "close": 0}, both.workshop.everything_printed()
    folder = both.workshop.run_folder("silence")
    assert json.loads((folder / "conclusion.json").read_bytes())["exit_code"] == 3
    assert (folder / "dossier.html").exists()


def test_a_window_of_traffic_is_judged_alike(both: Both) -> None:
    """What a server of the local run logged, with labels: the same evidence here and in the pods of `monitor`."""
    home, there = both.folder / "home", both.workshop.state / "home"
    began = datetime.now(UTC)
    _send_pictures(home, both.folder / "source" / "data")
    window = f"{began.isoformat()}/{(datetime.now(UTC) + timedelta(seconds=1)).isoformat()}"
    for name in ("predictions", "feedback.jsonl"):
        copy = shutil.copytree if (home / name).is_dir() else shutil.copy
        copy(home / name, there / name)
    local = _sextant(both.folder, "run", "--pipeline", "monitor", "--window", window, "--run-id", "traffic")
    both.workshop.carry_out(both.workshop.begin("traffic", "monitor", window=window))
    folders = (home / "runs" / "traffic", both.workshop.run_folder("traffic"))
    here, contained = (read_run(folder)["watch"] for folder in folders)
    assert differences(here, contained, DATED) == []
    (seen,) = [record for record in contained if record.task == "window"]
    assert seen.value["found"]["rows"] == PICTURES
    conclusion = json.loads((folders[1] / "conclusion.json").read_bytes())
    assert conclusion["exit_code"] == local.returncode


def _send_pictures(home: Path, data: Path) -> None:
    """Serve the version in service, ask it about the first pictures, and send their labels."""
    rows = list(csv.DictReader((data / "table.csv").read_text(encoding="utf-8").splitlines()))[:PICTURES]
    logs = ["--prediction-log", str(home / "predictions"), "--feedback-log", str(home / "feedback.jsonl")]
    with running_server(home=home, arguments=logs) as server, server.client() as client:
        for row in rows:
            client.infer_picture((data / "images" / row["image"]).read_bytes())
            assert client.prediction_id is not None
            client.send_feedback(client.prediction_id, row["label"])
