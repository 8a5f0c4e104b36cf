"""Engines beside each other: each is measured, the fastest served one that agrees is taken, a failure is a row."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sextant_components.modelling.optimise import run_optimise
from sextant_plan.bundle import read_bundle
from sextant_plan.ledger import Record, read_run
from sextant_plan.schema import Model
from sextant_plan.verdicts import Verdict
from sextant_serving.engines import check_golden, load_engine

Open = Callable[..., Any]


@pytest.fixture
def opened(home: Path, open_run_at: Open, tmp_path: Path) -> Open:
    """Open a run whose model part has other engines: `opened(name, engines=[...])`."""
    return lambda name, **changes: open_run_at(tmp_path / name, home=home, model=_model(**changes))


def _optimise(made: Any, bars: Any, context: Any, bundle: Path) -> tuple[dict[str, Record], dict[str, dict[str, Any]]]:
    """Return the step's records by task, and the table of engines by name."""
    run_optimise(context, snapshot=bars.snapshot, splits=bars.splits, model=made.model, bundle=bundle)
    records = {record.task: record for record in read_run(context.run)["optimise"]}
    table = json.loads(context.artifacts.read_bytes(records["engine latency"].artifacts["engines.json"]))
    return records, {row["engine"]: row for row in table}


def _model(**changes: Any) -> dict[str, Any]:
    return {
        "task": "image-classification",
        "inputs": {"image": {"height": 12, "width": 12, "channels": 1}},
        "candidates": [{"architecture": "mlp"}],
        **changes,
    }


@pytest.mark.parametrize("engine", ["torch-channels-last", "openvino"])
def test_an_engine_that_agrees_is_served_from_its_bundle(
    made: Any, bars: Any, opened: Open, tmp_path: Path, engine: str
) -> None:
    """The bundle is sealed for the engine and answers the golden requests with it."""
    context = opened("r1", engines=[engine])
    records, _ = _optimise(made, bars, context, tmp_path / "bundle")
    spec = read_bundle(tmp_path / "bundle")
    assert (spec.engine, records[f"engine parity: {engine}"].verdict) == (engine, Verdict.PASS)
    check_golden(load_engine(tmp_path / "bundle", spec), tmp_path / "bundle", spec)


def test_half_precision_is_taken_only_within_the_plans_tolerance(
    made: Any, bars: Any, opened: Open, tmp_path: Path
) -> None:
    """At the default tolerance bfloat16 fails parity and another engine is served; at a wide one it may be."""
    strict = opened("r1", engines=["torch-bf16", "onnx"])
    records, table = _optimise(made, bars, strict, tmp_path / "strict")
    assert records["engine parity: torch-bf16"].verdict is Verdict.FAIL
    assert [name for name, row in table.items() if row["chosen"]] == ["onnx"]
    wide = opened("r2", engines=["torch-bf16"], tolerance=0.2)
    _optimise(made, bars, wide, tmp_path / "wide")
    spec = read_bundle(tmp_path / "wide")
    assert (spec.engine, spec.golden_tolerance) == ("torch-bf16", 0.2)
    check_golden(load_engine(tmp_path / "wide", spec), tmp_path / "wide", spec)


def test_a_plan_names_an_engine_that_can_be_served() -> None:
    """Compiled engines alone leave nothing to seal."""
    with pytest.raises(ValidationError, match="measured and not served"):
        Model.model_validate(_model(engines=["torch-compile", "aot-inductor"]))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_compiled_engines_are_measured_and_agree(made: Any, bars: Any, opened: Open, tmp_path: Path) -> None:
    """torch.compile and AOTInductor give the network's answers and times, and are not chosen."""
    compiled = ["torch-compile", "aot-inductor"]
    context = opened("r1", engines=[*compiled, "onnx"])
    records, table = _optimise(made, bars, context, tmp_path / "bundle")
    for engine in compiled:
        assert records[f"engine parity: {engine}"].verdict is Verdict.PASS, table[engine]
        assert table[engine]["batch_1_ms"] > 0
        assert (table[engine]["served"], table[engine]["chosen"]) == (False, False)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_without_a_compiler_the_row_is_unknown_and_another_engine_is_served(
    made: Any, bars: Any, opened: Open, tmp_path: Path
) -> None:
    """The failure is in the table, the step ends, and onnx is taken."""
    context = opened("r1", engines=["torch-compile", "onnx"])
    code = (
        "import sys\nfrom pathlib import Path\nfrom sextant_components.runs.context import open_run\n"
        "from sextant_components.modelling.optimise import run_optimise\nrun, *paths = sys.argv[1:]\n"
        "snapshot, splits, model, bundle = map(Path, paths)\n"
        "run_optimise(open_run(run), snapshot=snapshot, splits=splits, model=model, bundle=bundle)\n"
    )
    paths = [context.run, bars.snapshot, bars.splits, made.model, tmp_path / "bundle"]
    environment = {**os.environ, "CXX": "/no/compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", code, *map(str, paths)], check=True, env=environment)
    records = {record.task: record for record in read_run(context.run)["optimise"]}
    assert records["engine parity: torch-compile"].verdict is Verdict.UNKNOWN
    assert "while it was built" in str(records["engine parity: torch-compile"].value)
    assert read_bundle(tmp_path / "bundle").engine == "onnx"
