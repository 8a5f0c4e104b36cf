"""The feature store of a cluster, loaded by the step `prepare` in its container and read as a server reads it.

Redis is reached by the name of its Service, with the connection string from a Secret, and the stores' file from the
ConfigMap that manifests/overlays/kubeflow makes; the test changes the port, and puts the registry on the volume.
"""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from tests.containers.launcher import Given, Store, Task
from tests.containers.pod import Ended, Image
from tests.containers.services import redis_server
from tests.containers.workshop import STATE, Workshop, profile

from sextant_pipelines.cluster_profile import load_profile
from sextant_plan.ledger import read_run
from sextant_plan.verdicts import Verdict

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1800)]
ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "manifests"
SHIPPED = MANIFESTS / "components" / "trigger" / "profile.yaml"
BEFORE = ("plan", "ingest", "verify", "prepare")
ROWS = 480
REDIS_PORT = 6379  # of its Service
REDIS = "redis.sextant-system.svc"  # of the Secret feast-stores
EDITS = {
    "  entity: digit_id\n": "  entity: digit_id\n  timestamp: seen_at\n",
    "    digit_id: {type: text, unique: true}\n": (
        "    digit_id: {type: text, unique: true}\n    seen_at: {type: timestamp}\n"
    ),
    "\nmodel:\n": (
        "\nfeatures:\n  views:\n"
        "    - {name: ink, source: ink.csv, timestamp: measured_at, columns: [drops], ttl: 3650d}\n\nmodel:\n"
    ),
    "task: image-classification": "task: image-tabular-classification",
    "{architecture: linear}": "{architecture: fusion}",
    "channels: 1}\n": 'channels: 1}\n    features: ["ink:drops"]\n',
}


@dataclass(frozen=True)
class Prepared:
    """A run up to `prepare`, and how Redis is reached here."""

    workshop: Workshop
    port: int
    password: str


def _lay_out(folder: Path) -> None:
    """Write the tiny plan and its data with a time for each row and a view of one feature for each digit."""
    text = (ROOT / "examples" / "tiny" / "plan.yaml").read_text(encoding="utf-8")
    for old, new in EDITS.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (folder / "plan.yaml").write_text(text, encoding="utf-8")
    subprocess.run([sys.executable, "-m", "sextant_examples.tiny", str(folder / "data")], check=True)
    table = folder / "data" / "table.csv"
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    times = [f"2026-02-{1 + number % 28:02}T12:00:00Z" for number in range(len(rows))]
    _write(table, [{**row, "seen_at": time} for row, time in zip(rows, times, strict=True)])
    facts = [
        {"digit_id": row["digit_id"], "measured_at": "2026-01-01T00:00:00Z", "drops": f"{number}.5"}
        for number, row in enumerate(rows)
    ]
    _write(folder / "data" / "ink.csv", facts)


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _secret() -> dict[str, str]:
    """Return the Secret `feast-stores` of a trial by key."""
    made = yaml.safe_load((MANIFESTS / "components" / "development-secrets" / "kustomization.yaml").read_text("utf-8"))
    (literals,) = [each["literals"] for each in made["secretGenerator"] if each["name"] == "feast-stores"][:1]
    return dict(literal.split("=", 1) for literal in literals)


def _workshop(folder: Path, image: Image, port: int) -> Workshop:
    """Return a cluster with what the shipped profile says of feature stores; its registry lies on the volume."""
    shipped = load_profile(SHIPPED)
    (source,) = [each for each in shipped.secrets if each.name == "feast-stores"]
    there = profile(
        env={name: shipped.env[name] for name in ("SEXTANT_FEAST_STORES",)},
        secrets=[source.model_dump()],
        config_maps=[each.model_dump() for each in shipped.config_maps],
    )
    secret = {
        **_secret(),
        "FEAST_REGISTRY": f"sqlite:///{STATE}/registry.db",
        "FEAST_ONLINE": _secret()["FEAST_ONLINE"].replace(f":{REDIS_PORT}", f":{port}"),
    }
    return Workshop(
        folder / "cluster",
        image,
        folder / "source" / "plan.yaml",
        folder / "source",
        Store.in_folder(folder / "buckets"),
        there,
        {"feast-stores": secret},
        {"sextant-feast": MANIFESTS / "overlays" / "kubeflow"},
        [REDIS],
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, image: Image) -> Iterator[Prepared]:
    """A run as far as its features are prepared; the steps after that are not carried out."""
    folder = tmp_path_factory.mktemp("features")
    (folder / "source").mkdir()
    _lay_out(folder / "source")
    _, _, password = _secret()["FEAST_ONLINE"].partition("password=")

    def until_prepared(task: Task, once: Callable[[], Given]) -> Given:
        return once() if task.name in BEFORE else Given(Ended(1, "not asked for"))

    with redis_server(folder, password) as port:
        workshop = _workshop(folder, image, port)
        _, backend = workshop.carry_out(workshop.begin("features"), until_prepared)
        assert all(backend.given[name].ended.code == 0 for name in BEFORE), workshop.everything_printed()
        yield Prepared(workshop, port, password)


def test_the_step_loads_the_store_that_its_profile_names(prepared: Prepared) -> None:
    """Every digit is in Redis, and nothing in a store of the run's own."""
    import redis

    with redis.Redis(port=prepared.port, password=prepared.password) as client:
        assert client.dbsize() == ROWS
    feast = prepared.workshop.state / "home" / "feast" / "tiny"
    assert not (feast / "online.db").exists()


def test_training_and_serving_read_the_same_features(prepared: Prepared) -> None:
    """The step's own comparison of the join with what the store answers."""
    records = {record.task: record for record in read_run(prepared.workshop.run_folder("features"))["prepare"]}
    assert records["train/serve parity"].verdict is Verdict.PASS
    assert records["online features"].verdict is Verdict.PASS


def test_no_password_is_written_down(prepared: Prepared) -> None:
    """Neither in the package, nor in what the steps printed, nor in any file on the volume."""
    submission = prepared.workshop.begin("features")
    needle = f"password={prepared.password}"
    assert needle not in submission.package.text
    assert needle not in prepared.workshop.everything_printed()
    files = [path for path in prepared.workshop.state.rglob("*") if path.is_file()]
    assert [path for path in files if needle.encode() in path.read_bytes()] == []
    assert len(files) > 10
