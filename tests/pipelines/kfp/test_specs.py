"""Packages read strictly by KFP's messages that are not in the environment: those of KFP 2.0, and of kfp-kubernetes.

The first need an older protobuf than anything else here, the second are of use to these tests alone; so each lies in a
folder of its own, installed by its lock from the package index.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.pipelines.kfp.test_cluster_ir import FULL

from sextant_components.runs.context import PIPELINES
from sextant_pipelines.cluster_ir import for_cluster
from sextant_pipelines.cluster_profile import load_profile
from sextant_pipelines.compile import split_documents

pytestmark = pytest.mark.servers
ROOT = Path(__file__).parents[3]
LOCKS = Path(__file__).with_name("locks")
FIRST_READER = """
import json, sys
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
ir = json.load(sys.stdin)
json_format.ParseDict(ir, pipeline_spec_pb2.PipelineSpec())
json_format.ParseDict(ir["deploymentSpec"], pipeline_spec_pb2.PipelineDeploymentConfig())
"""

KUBERNETES_READER = """
import importlib.util, json, sys
from google.protobuf import json_format
spec = importlib.util.spec_from_file_location("messages", sys.argv[1])
messages = importlib.util.module_from_spec(spec)
spec.loader.exec_module(messages)
for executor in json.load(sys.stdin).values():
    json_format.ParseDict(executor, messages.KubernetesExecutorConfig())
"""


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that reads a pipeline by kfp-pipeline-spec 0.2.2, which KFP 2.0 came with."""
    env = tmp_path_factory.mktemp("first") / "env"
    python, uv = env / "bin" / "python", str(Path(sys.prefix) / "bin" / "uv")
    lock = str(LOCKS / "kfp-2.0-spec.txt")
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(env)], check=True)
    subprocess.run([uv, "pip", "sync", "--quiet", "--python", str(python), "--require-hashes", lock], check=True)
    return [str(python), "-W", "ignore", "-c", FIRST_READER]


@pytest.fixture(scope="module")
def kubernetes(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that reads executors' Kubernetes settings by the messages of kfp-kubernetes 2.17."""
    folder, uv = tmp_path_factory.mktemp("kubernetes"), str(Path(sys.prefix) / "bin" / "uv")
    lock = str(LOCKS / "kfp-kubernetes.txt")
    into = ["--quiet", "--no-deps", "--target", str(folder)]
    subprocess.run([uv, "pip", "install", *into, "--require-hashes", "-r", lock], check=True)
    (messages,) = folder.rglob("kubernetes_executor_config_pb2.py")
    return [sys.executable, "-c", KUBERNETES_READER, str(messages)]


def _said(command: list[str], document: object) -> str:
    """Return what the reader complains of: nothing if it reads the document."""
    text = json.dumps(document)
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    return done.stderr


@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_is_read_strictly_by_the_first_version(first: list[str], name: str) -> None:
    """The pipeline's text as it is committed."""
    ir, _ = split_documents((ROOT / "pipelines" / f"{name}.yaml").read_text(encoding="utf-8"))
    assert _said(first, ir) == ""


def test_the_reader_notices_a_field_that_it_does_not_know(first: list[str]) -> None:
    """In the deployment's part too, which is a message within a message without a type."""
    ir, _ = split_documents((ROOT / "pipelines" / "monitor.yaml").read_text(encoding="utf-8"))
    ir["deploymentSpec"]["executors"]["exec-close"]["container"]["sinceLater"] = True
    assert "sinceLater" in _said(first, ir)


@pytest.mark.parametrize("name", PIPELINES)
def test_kubernetes_settings_are_read_strictly(
    kubernetes: list[str], name: str, write_profile: Callable[..., Path], pipeline_text: Callable[[str], str]
) -> None:
    """Everything that a profile can ask for: secrets, volumes, tolerations, shared memory, a deadline."""
    _, platform = split_documents(for_cluster(pipeline_text(name), load_profile(write_profile(FULL))))
    assert platform is not None
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert _said(kubernetes, executors) == ""
    executors["exec-close"]["sinceLater"] = True
    assert "sinceLater" in _said(kubernetes, executors)
