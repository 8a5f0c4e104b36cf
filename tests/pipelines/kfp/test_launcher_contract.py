"""What a step's container is given by KFP 2.17, held to a file: the executor's input and the command around it.

Written by the source of KFP 2.17.0: `provisionOutputs` (backend/src/v2/driver/driver.go) names the outputs,
`LocalPathForURI` (backend/src/v2/component/launcher_v2.go) where artifacts lie in the pod. A change of this file is a
change of the contract, to be found in that source first.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.containers.launcher import Artifact, Task

from sextant_pipelines.compile import split_documents

GOLDEN = Path(__file__).with_name("golden") / "executor_input.json"
DATASET = {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"}
ROOT = "s3://artifacts/runs/one"


@pytest.fixture
def task(pipeline_text: Callable[[str], str]) -> Task:
    """The `train` task of the committed lifecycle with the artifacts that come before it."""
    ir, _ = split_documents(pipeline_text("lifecycle"))
    container = ir["deploymentSpec"]["executors"]["exec-train"]["container"]
    inputs = {
        name: Artifact(name, DATASET, f"{ROOT}/{producer}/{name}")
        for name, producer in (("snapshot", "ingest"), ("splits", "prepare"))
    }
    parameters = {"run_uri": "s3://runs/one"}
    return Task("train", ir["components"]["comp-train"], container, parameters, inputs, f"{ROOT}/train")


def test_the_executors_input_is_the_one_on_file(task: Task) -> None:
    """Inputs by name with type and address, outputs by address and file, and where the executor says what it gave."""
    assert json.loads(task.executor_input()) == json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_the_command_holds_the_input_and_no_other_placeholder(task: Task) -> None:
    """The launcher replaces `{{$}}` by the input; nothing of the IR waits for another replacement."""
    command = task.command()
    assert task.executor_input() in command
    assert not [word for word in command if "{{$" in word]
    assert command[command.index("--function_to_execute") + 1] == "train"


def test_kfps_executor_reads_the_input(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """KFP's own executor hands the step the paths at which the launcher puts artifacts, and writes where it reads."""
    from kfp.dsl import Dataset, Input, Model, Output
    from kfp.dsl import executor as kfp_executor

    seen: dict[str, str] = {}

    def train(run_uri: str, snapshot: Input[Dataset], splits: Input[Dataset], model: Output[Model]) -> str:
        seen.update(run_uri=run_uri, snapshot=snapshot.path, splits=splits.path, model=model.path)
        return "pass"

    train.__annotations__ = {
        "run_uri": str,
        "snapshot": Input[Dataset],
        "splits": Input[Dataset],
        "model": Output[Model],
        "return": str,
    }
    given = json.loads(task.executor_input())
    given["outputs"]["outputFile"] = str(tmp_path / "output_metadata.json")
    monkeypatch.setattr("os.makedirs", lambda *_, **__: None)  # below /s3, which is the pod's
    kfp_executor.Executor(given, train).execute()
    written = json.loads((tmp_path / "output_metadata.json").read_text(encoding="utf-8"))
    assert seen == {
        "run_uri": "s3://runs/one",
        "snapshot": "/s3/artifacts/runs/one/ingest/snapshot",
        "splits": "/s3/artifacts/runs/one/prepare/splits",
        "model": "/s3/artifacts/runs/one/train/model",
    }
    assert written["parameterValues"] == {"Output": "pass"}
