"""A life cycle in which every step is killed once at a random moment, beside one that nobody disturbs.

The undisturbed one keeps its run and its artifacts in a real object store, with credentials from a Secret, and its
registry in a real MLflow server; the other one has all of it on a volume, where a killed step leaves what it had
written. Both are carried out as containers, as Kubeflow Pipelines would: the second attempt is a new pod with the same
inputs and the same addresses for its outputs.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import fsspec
import pytest
from tests.containers.backend import Backend
from tests.containers.launcher import Given, Store, Task
from tests.containers.pod import Image
from tests.containers.services import MLFLOW_PORT, mlflow_server
from tests.containers.workshop import Workshop, profile
from tests.evidence import DATED, MEASURED, differences
from tests.object_store import ACCESS_KEY, SECRET_KEY, ObjectStore, object_store

from sextant_components.runs.context import Step
from sextant_pipelines.cluster_profile import load_profile
from sextant_pipelines.run_store import local_copy
from sextant_plan.bundle import read_bundle
from sextant_plan.ledger import Record, attempts, finished, read_attempt, read_run

pytestmark = [pytest.mark.containers, pytest.mark.timeout(3600)]
ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "manifests" / "components" / "trigger" / "profile.yaml"
SEED = int(os.environ.get("SEXTANT_TEST_SEED", random.SystemRandom().randrange(1_000_000)))
STEPS = [step.value for step in Step]
SECRET = {"id": ACCESS_KEY, "key": SECRET_KEY}
UNHURRIED = {"metric: latency_p99_ms, at_most: 500,": "metric: latency_p99_ms, at_most: 10000,"}
UNHURRIED |= {"latency_slo_ms: 500": "latency_slo_ms: 10000"}
UNHURRIED |= {"engines: [torch-safetensors, onnx]": "engines: [onnx]"}


@dataclass
class Ran:
    """One life cycle: what it recorded, what its tasks gave, how long each took, and the cluster that it ran on."""

    workshop: Workshop
    records: dict[str, list[Record]] = field(default_factory=dict)
    backend: Backend | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def given(self) -> dict[str, Given]:
        """What each task gave."""
        assert self.backend is not None
        return self.backend.given


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny plan, without its limits on time, and its data."""
    folder = tmp_path_factory.mktemp("disturbed") / "source"
    folder.mkdir()
    text = (ROOT / "examples" / "tiny" / "plan.yaml").read_text(encoding="utf-8")
    for hurried, unhurried in UNHURRIED.items():
        assert text.count(hurried) == 1
        text = text.replace(hurried, unhurried)
    (folder / "plan.yaml").write_text(text, encoding="utf-8")
    subprocess.run([sys.executable, "-m", "sextant_examples.tiny", str(folder / "data")], check=True)
    return folder


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """A real object store, and its address and credentials in the environment of this process."""
    folder = tmp_path_factory.mktemp("s3")
    with object_store(folder, "runs", "artifacts", "mlflow") as store, pytest.MonkeyPatch.context() as patch:
        for name, value in store.environment.items():
            patch.setenv(name, value)
        yield store


@pytest.fixture(scope="module")
def mlflow_port(tmp_path_factory: pytest.TempPathFactory, objects: ObjectStore) -> Iterator[int]:
    """A real MLflow server, whose artifacts go to the object store."""
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as port:
        yield port


@pytest.fixture(scope="module")
def undisturbed(bench: Path, image: Image, objects: ObjectStore, mlflow_port: int) -> Ran:
    """The life cycle on the object store, both servers reached by the names of the shipped profile."""
    ports = {f":{MLFLOW_PORT}": f":{mlflow_port}", ":7070": f":{objects.endpoint.rpartition(':')[2]}"}
    env = {"AWS_DEFAULT_REGION": "us-east-1"}
    for name in ("MLFLOW_TRACKING_URI", "AWS_ENDPOINT_URL"):
        address = load_profile(SHIPPED).env[name]
        (port,) = [each for each in ports if address.endswith(each)]
        env[name] = address.replace(port, ports[port])
    names = [urlsplit(address).hostname or "" for address in env.values() if "://" in address]
    keys = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key"}
    there = profile(store="s3://runs", env=env, secrets=[{"name": "object-store", "env": keys}])
    store = Store(fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False))
    secrets = {"object-store": SECRET}
    ran = Ran(Workshop(bench.parent / "s3", image, bench / "plan.yaml", bench, store, there, secrets, names=names))

    def timed(task: Task, once: Callable[[], Given]) -> Given:
        began = time.monotonic()
        given = once()
        ran.seconds[task.name] = time.monotonic() - began
        return given

    succeeded, ran.backend = ran.workshop.carry_out(ran.workshop.begin("undisturbed"), timed)
    assert succeeded, ran.workshop.everything_printed()
    with local_copy("s3://runs/undisturbed") as run:
        ran.records = read_run(Path(run))
    return ran


@pytest.fixture(scope="module")
def disturbed(bench: Path, image: Image, undisturbed: Ran) -> Ran:
    """The life cycle on a volume, each of its steps killed once."""
    store = Store.in_folder(bench.parent / "buckets")
    ran = Ran(Workshop(bench.parent / "volume", image, bench / "plan.yaml", bench, store))
    chance = random.Random(SEED)
    killed = []

    def killed_once(task: Task, once: Callable[[], Given]) -> Given:
        after = undisturbed.seconds[task.name] * chance.uniform(0.1, 0.9)
        while not ran.workshop.kill(task, after=after):
            after *= 0.7  # it had ended before; that it may run twice is tried along the way
        killed.append(f"{task.name} after {after:.1f} s")
        return once()

    succeeded, ran.backend = ran.workshop.carry_out(ran.workshop.begin("disturbed"), killed_once)
    print(f"SEXTANT_TEST_SEED={SEED}: {killed}")
    assert succeeded, ran.workshop.everything_printed()
    ran.records = read_run(ran.workshop.run_folder("disturbed"))
    return ran


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_was_killed_proves_the_same_the_second_time(disturbed: Ran, undisturbed: Ran, step: str) -> None:
    """Record by record, whatever the first attempt had left on the volume."""
    found = differences(undisturbed.records[step], disturbed.records[step], (*MEASURED, *DATED))
    assert found == [], f"SEXTANT_TEST_SEED={SEED}"


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_was_killed_gives_the_same_files(disturbed: Ran, undisturbed: Ran, step: str) -> None:
    """Every file of its output artifacts by digest, and the value that it returns."""
    first, second = undisturbed.given[step], disturbed.given[step]
    assert second.files == first.files, f"SEXTANT_TEST_SEED={SEED}"
    assert second.parameters == first.parameters


def test_no_attempt_writes_into_anothers_ledger(disturbed: Ran) -> None:
    """What a killed attempt wrote is there as it left it, and the last attempt of every step is whole."""
    last: dict[str, list[Record]] = {}
    for path in attempts(disturbed.workshop.run_folder("disturbed")):
        last[path.stem.rpartition("-")[0]] = read_attempt(path)
    assert set(last) == set(STEPS)
    assert all(finished(records) for records in last.values())


def test_a_run_registers_in_the_server_that_it_reached_by_name(
    undisturbed: Ran, mlflow_port: int, objects: ObjectStore
) -> None:
    """MLflow holds the version, whose bundle is in the object store, and its alias; the home has no registry."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"http://localhost:{mlflow_port}")
    (version,) = client.search_model_versions("name='tiny'")
    assert version.version == undisturbed.given["register"].parameters["Output"]
    assert version.source is not None
    bundle = objects.folder / version.source.removeprefix("s3://")
    assert read_bundle(bundle).digest == version.tags["sextant.bundle_digest"]
    assert client.get_model_version_by_alias("tiny", "champion").version == version.version
    assert not (undisturbed.workshop.state / "home" / "mlflow.db").exists()


def test_no_credential_is_left_anywhere(undisturbed: Ran, objects: ObjectStore) -> None:
    """Not in the package, not in what the pods printed, not in any object of the run or of its artifacts."""
    submission = undisturbed.workshop.begin("undisturbed")
    assert SECRET_KEY not in submission.package.text
    assert SECRET_KEY not in undisturbed.workshop.everything_printed()
    holders = [path for path in objects.files() if SECRET_KEY.encode() in path.read_bytes()]
    assert holders == []
    assert len(list(objects.files())) > 50
