"""Two runs of one plan at the same time, in one home: each proves what it would prove alone, and nothing is lost."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import pytest
from tests.evidence import DATED, MEASURED, differences

from sextant_plan.ledger import read_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
ALONE = ("plan", "ingest", "verify", "prepare", "train", "optimise")  # the later steps know the other run's model
RUN_IDS = ("one", "two")


@pytest.fixture
def both(workshop: Any) -> Any:
    """The workshop after both runs; neither is held to the clock, which the other one slows."""
    workshop.edit_plan("metric: latency_p99_ms, at_most: 500,", "metric: latency_p99_ms, at_most: 10000,")
    workshop.edit_plan("latency_slo_ms: 500", "latency_slo_ms: 10000")
    workshop.edit_plan("engines: [torch-safetensors, onnx]", "engines: [onnx]")
    with (
        workshop.start("run", "--run-id", "one", "--json") as one,
        workshop.start("run", "--run-id", "two", "--json") as two,
    ):
        said = [process.communicate() for process in (one, two)]
    codes = [one.returncode, two.returncode]
    # Whoever comes second to the promotion of the same champion is told so, and may be refused: exit 1.
    assert 0 in codes, said
    assert set(codes) <= {0, 1}, said
    return workshop


def test_two_runs_at_once_do_not_disturb_each_other(both: Any) -> None:
    """The same evidence, whole; two versions in the registry, one of them in service by the last promotion."""
    one, two = (read_run(both.home / "runs" / name) for name in RUN_IDS)
    assert [each for step in ALONE for each in differences(one[step], two[step], (*MEASURED, *DATED))] == []
    for name in RUN_IDS:
        verified = json.loads(both.run("report", str(both.home / "runs" / name), "--verify", "--json").stdout)
        assert (verified["faults"], verified["overspent"]) == ([], [])  # a run that was refused has a gap, no more
    with sqlite3.connect(both.home / "mlflow.db") as registry:
        versions = {str(version) for (version,) in registry.execute("select version from model_versions")}
    assert len(versions) == 2
    assert json.loads((both.home / "active.json").read_bytes())["version"] in versions
