"""Watching a real server: what one pass proves, and what it leaves unknown."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from sextant_components.data.tables import IMAGES_FILE, ROWS_FILE
from sextant_components.monitoring.watch import requests_needed, run_watch
from sextant_components.runs.context import RunContext, create_run
from sextant_plan.bundle import (
    GOLDEN_FILE,
    REFERENCE_FILE,
    BundleSpec,
    Column,
    Member,
    ServingSpec,
    Tensor,
    seal_bundle,
)
from sextant_plan.ledger import Record, read_run
from sextant_plan.reference import Reference, profile, write_reference
from sextant_plan.rules import compile_rules
from sextant_plan.schema import ImageInput, Plan
from sextant_plan.verdicts import Verdict
from sextant_serving.preprocessing import picture_statistics

ROWS = 240
PLAN: dict[str, Any] = {
    "name": "parcels",
    "owner": {"team": "warehouse", "approvers": ["operations"]},
    "goal": {"business": "Sort parcels.", "why_ml": "Nobody can write the rules down."},
    "criteria": [
        {"id": "accuracy", "metric": "accuracy", "at_least": 0.8, "enforce": ["gate", "retrain"]},
        {"id": "coverage", "metric": "coverage", "at_least": 0.9, "enforce": ["gate", "alert"]},
        {"id": "latency", "metric": "latency_p50_ms", "at_most": 5000, "enforce": ["gate", "alert"]},
        {"id": "errors", "metric": "error_rate", "at_most": 0.02, "enforce": ["gate", "alert"]},
        {"id": "input-drift", "metric": "input_psi", "at_most": 0.2, "enforce": ["alert", "retrain"]},
        {
            "id": "heavy",
            "metric": "accuracy",
            "at_least": 0.8,
            "slice": "label=heavy",
            "min_n": 30,
            "enforce": ["alert"],
        },
        {"id": "labels", "metric": "label_join_rate", "at_least": 0.5, "enforce": ["alert"]},
    ],
    "evaluation": {"slices": ["label"]},
    "data": {
        "source": "data",
        "table": "table.csv",
        "images": "images",
        "columns": {"weight": {"type": "number"}},
        "licence": {"name": "CC0-1.0", "source": "made up", "allows_training": True},
        "consent": {"basis": "no persons"},
    },
    "model": {
        "task": "image-tabular-classification",
        "inputs": {"image": {"height": 8, "width": 8, "channels": 1}, "columns": ["weight"]},
        "candidates": [{"architecture": "linear"}],
    },
    "monitoring": {"min_rows": 100},
}

Watched = tuple[Verdict, dict[str, Record]]


def _write_network(path: Path) -> None:
    """Write softmax([w, -w]) with w the weight: heavy where it is positive; the picture is read and ignored."""
    weights: dict[str, np.ndarray] = {"w": np.array([[1.0, -1.0]], np.float32), "flat": np.array([0, -1], np.int64)}
    weights |= {"axis": np.array([1], np.int64), "nothing": np.zeros((1, 2), np.float32)}
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["pixels", "flat"], ["flattened"]),
        helper.make_node("ReduceMean", ["flattened", "axis"], ["mean"], keepdims=1),
        helper.make_node("MatMul", ["mean", "nothing"], ["from_image"]),
        helper.make_node("MatMul", ["features", "w"], ["from_features"]),
        helper.make_node("Add", ["from_image", "from_features"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    inputs = [
        helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", 8, 8, 1]),
        helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 1]),
    ]
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 2])]
    stored = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, stored)
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    )


def _write_bundle(directory: Path, pixels: np.ndarray, weight: np.ndarray, *, abstain_below: float) -> BundleSpec:
    directory.mkdir(parents=True)
    _write_network(directory / "model.onnx")
    features = weight[:, None].astype(np.float32)
    powers = np.exp(features * [[1.0, -1.0]])
    probabilities = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    np.savez(directory / GOLDEN_FILE, image=pixels, features=features, probabilities=probabilities)
    measured = {"weight": weight, **picture_statistics(pixels)}
    reference = Reference(
        features=[profile(name, values) for name, values in measured.items()], classes={"heavy": 1, "light": 1}
    )
    write_reference(directory / REFERENCE_FILE, reference)
    serving = ServingSpec(
        max_rows=8,
        max_wait=0.001,
        queue_rows=64,
        deadline=5.0,
        latency_edges_ms=[5000.0],
        abstain_below=abstain_below,
        missing_features="default",
    )
    spec = BundleSpec(
        name="parcels",
        version="3",
        task="image-tabular-classification",
        engine="onnx",
        members=[Member(file="model.onnx", architecture="none")],
        image=ImageInput(height=8, width=8, channels=1),
        columns=[Column(name="weight")],
        entity=None,
        feature_service=None,
        classes=["heavy", "light"],
        inputs=[
            Tensor(name="image", datatype="UINT8", shape=[-1, 8, 8, 1]),
            Tensor(name="features", datatype="FP32", shape=[-1, 1]),
        ],
        outputs=[Tensor(name="probabilities", datatype="FP32", shape=[-1, 2])],
        serving=serving,
        golden_tolerance=1e-4,
        plan_hash="sha256:" + "0" * 64,
        data_hash="sha256:" + "1" * 64,
        created=1.7e9,
        files={},
    )
    return seal_bundle(directory, spec)


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels[:, :, 0]).save(file, "PNG")
    return file.getvalue()


def _write_data(root: Path, pixels: np.ndarray, weight: np.ndarray) -> tuple[Path, Path]:
    snapshot, splits = root / "snapshot", root / "splits"
    snapshot.mkdir()
    splits.mkdir()
    row_ids = list(range(len(weight)))
    labels = ["heavy" if value > 0 else "light" for value in weight]
    pl.DataFrame({"row_id": row_ids, "label": labels, "weight": weight}).write_parquet(snapshot / ROWS_FILE)
    pictures = [_png(picture) for picture in pixels]
    pl.DataFrame({"row_id": row_ids, "data": pictures}).write_parquet(snapshot / IMAGES_FILE)
    pl.DataFrame({"row_id": row_ids, "label": labels}).write_parquet(splits / "valid.parquet")
    return snapshot, splits


def _new_run(root: Path) -> RunContext:
    (root / "plan.yaml").write_text(yaml.safe_dump(PLAN))
    (root / "home").mkdir()
    return create_run(root / "run", run_id="watched", plan_path=root / "plan.yaml", home=root / "home")


def _watch(root: Path, *, shift: float = 0.0, abstain_below: float = 0.0) -> Watched:
    """Put a model in service and send it rows whose weight is shifted; return verdict and records by task."""
    context, random = _new_run(root), np.random.default_rng(5)
    pixels = random.integers(0, 256, (ROWS, 8, 8, 1), dtype=np.uint8)
    weight = random.normal(size=ROWS)
    bundle = context.home / "bundles" / "parcels"
    spec = _write_bundle(bundle, pixels, weight, abstain_below=abstain_below)
    active = {
        "name": "parcels",
        "version": "3",
        "digest": spec.digest,
        "bundle": str(bundle),
        "feature_repo": None,
        "sequence": "seq-0001",
        "previous": None,
    }
    (context.home / "active.json").write_text(json.dumps(active))
    snapshot, splits = _write_data(root, pixels, weight + shift)
    verdict = run_watch(context, snapshot=snapshot, splits=splits)
    return verdict, {record.task: record for record in read_run(context.run)["watch"]}


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """One pass over a server whose traffic is like the training rows."""
    return _watch(tmp_path_factory.mktemp("healthy"))


def test_a_healthy_server_passes_with_evidence_for_every_alert(healthy: Watched) -> None:
    """Each criterion that alerts has a verdict with interval and n; the pages it was read from are kept."""
    verdict, records = healthy
    assert verdict is Verdict.PASS
    for name in ("coverage", "latency", "errors", "input-drift"):
        record = records[f"alert {name}"]
        assert (record.criterion, record.verdict) == (name, Verdict.PASS)
        assert record.interval is not None
        assert record.interval[0] <= record.value <= record.interval[1]
        assert record.artifacts.keys() == {"before", "rows", "requests"}
    assert records["presence"].verdict is Verdict.PASS


def test_rows_are_judged_once_and_requests_as_often_as_it_takes(healthy: Watched) -> None:
    """Repeated rows prove nothing new of inputs and answers, and as much as any of the time a request takes."""
    _, records = healthy
    assert (records["alert coverage"].n, records["alert input-drift"].n) == (ROWS, ROWS)
    assert records["alert errors"].n == requests_needed(compile_rules(Plan.model_validate(PLAN))) > ROWS
    assert records["live traffic"].value["statuses"] == {"200": records["alert errors"].n}


def test_labels_of_half_the_rows_find_their_predictions(healthy: Watched) -> None:
    """The join is counted, and the live accuracy informs without being a gate's evidence."""
    _, records = healthy
    assert records["label join"].value == {"sent": ROWS // 2, "joined": ROWS // 2, "agree": ROWS // 2}
    quality = records["retrain accuracy"]
    assert (quality.value, quality.n, quality.criterion) == (1.0, ROWS // 2, None)


def test_a_slice_is_judged_by_the_labels_of_the_pass(healthy: Watched) -> None:
    """The server counts no slices; how many labels come back is not proved by a pass that labels every second row."""
    _, records = healthy
    found = records["alert heavy"]
    assert (found.value, found.verdict) == (1.0, Verdict.PASS)
    assert found.n is not None
    assert 30 <= found.n < ROWS // 2
    assert records["alert labels"].verdict is Verdict.UNKNOWN


def test_drifted_traffic_fails_and_names_the_feature(tmp_path: Path) -> None:
    """Weights two deviations off: the criterion fails, and only that feature's index is high."""
    verdict, records = _watch(tmp_path, shift=2.0)
    assert verdict is Verdict.FAIL
    assert records["alert input-drift"].verdict is Verdict.FAIL
    drift = records["drift by feature"].value
    assert [name for name, found in drift.items() if found["low"] > 0.2] == ["weight"]
    assert drift["weight"]["p_value"] < 1e-6
    assert records["alert coverage"].verdict is Verdict.PASS


def test_a_model_that_abstains_too_often_fails_its_coverage(tmp_path: Path) -> None:
    """Fallbacks are counted by reason and lower the coverage."""
    verdict, records = _watch(tmp_path, abstain_below=0.8)
    assert verdict is Verdict.FAIL
    assert records["alert coverage"].verdict is Verdict.FAIL
    counts = records["fallbacks"].value
    assert counts["low-confidence"] + counts["answered"] == ROWS
    assert counts["low-confidence"] > 0.3 * ROWS


def test_nothing_in_service_is_unknown(tmp_path: Path) -> None:
    """Without an active model no alert can be green."""
    context = _new_run(tmp_path)
    assert run_watch(context, snapshot=tmp_path, splits=tmp_path) is Verdict.UNKNOWN
    (record, _) = read_run(context.run)["watch"]
    assert "no active model" in record.value
