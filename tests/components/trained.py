"""Pictures of bars as the data steps would leave them, a home with an empty MLflow, and a model trained once."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image

from sextant_components.closing.dossier.page import run_dossier
from sextant_components.modelling.optimise import run_optimise
from sextant_components.modelling.train import run_train
from sextant_components.runs.context import RunContext, create_run, open_run
from sextant_plan.bundle import BundleSpec, read_bundle
from sextant_plan.reference import Reference, profile, write_reference
from sextant_serving.mlflow_store import connect

SIDE = 12
CLASSES = ["cross", "flat", "tall"]
COUNTS = {"train": 150, "valid": 60, "sealed": 90}
PLAN: dict[str, Any] = {
    "name": "bars",
    "owner": {"team": "tests", "approvers": ["maintainer"]},
    "goal": {
        "business": "Tell bars apart.",
        "why_ml": "The steps under test train a model.",
        "economics": {"value_per_correct": 1.0, "cost_per_error": 2.0, "predictions_per_day": 10},
    },
    "criteria": [
        {"id": "accuracy", "metric": "accuracy", "at_least": 0.6, "min_n": 50},
        {"id": "beats-majority", "metric": "accuracy", "at_least": 0.1, "relative_to": "baseline", "min_n": 50},
        {"id": "no-worse", "metric": "accuracy", "at_least": -0.2, "relative_to": "champion", "min_n": 50},
        {"id": "corruptions", "metric": "corrupted_accuracy", "at_least": 0.3, "min_n": 50},
        {"id": "latency", "metric": "latency_p50_ms", "at_most": 5000, "min_n": 20},
        {"id": "errors", "metric": "error_rate", "at_most": 0.5, "min_n": 20},
        {"id": "drift", "metric": "input_psi", "at_most": 0.2, "enforce": ["alert"]},
    ],
    "data": {
        "source": "data",
        "table": "table.csv",
        "images": "images",
        "columns": {"light": {"type": "category"}},
        "licence": {"name": "CC0-1.0", "source": "drawn by the test", "allows_training": True},
        "consent": {"basis": "No person is shown."},
    },
    "model": {
        "task": "image-classification",
        "inputs": {"image": {"height": SIDE, "width": SIDE, "channels": 1}},
        "candidates": [
            {"architecture": "small-cnn", "params": {"width": 4}},
            {"architecture": "mlp", "params": {"hidden": 16, "layers": 1}},
        ],
        "epochs": 8,
        "batch_size": 16,
        "search": {"trials": 3, "learning_rate": [3.0e-3, 2.0e-2]},
        "seeds": 2,
    },
    "evaluation": {
        "slices": ["light"],
        "corruptions": ["dark"],
        "explanation": {"method": "occlusion", "budget": "20s"},
        "latency_requests": 30,
    },
    "serving": {"batching": {"max_rows": 8}},
}


@dataclass(frozen=True)
class Data:
    """The folders that the data steps hand over."""

    snapshot: Path
    splits: Path


@dataclass(frozen=True)
class Made:
    """A run that has been trained and optimised; `bundle` must not be changed, `copy_bundle` gives one that may."""

    context: RunContext
    model: Path
    bundle: Path

    @property
    def spec(self) -> BundleSpec:
        """The bundle's description."""
        return read_bundle(self.bundle)


def _bars(labels: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.uint8]:
    pictures = generator.integers(20, 90, (len(labels), SIDE, SIDE))
    for row, label in enumerate(labels):
        at, level = generator.integers(3, SIDE - 3), generator.integers(150, 230)
        if CLASSES[label] in {"tall", "cross"}:
            pictures[row, 1:-1, at] = level
        if CLASSES[label] in {"flat", "cross"}:
            pictures[row, at, 1:-1] = level
    return pictures.astype(np.uint8)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """A snapshot and splits in the layout of the data steps; the pictures of row `i` have label `i % 3`."""
    root = tmp_path_factory.mktemp("bars")
    data = Data(root / "snapshot", root / "splits")
    data.snapshot.mkdir()
    data.splits.mkdir()
    rows = sum(COUNTS.values())
    labels = np.arange(rows) % 3
    pictures = _bars(labels, np.random.default_rng(5))
    light = ["day" if row % 2 else "night" for row in range(rows)]
    table = pl.DataFrame({"row_id": range(rows), "label": [CLASSES[label] for label in labels], "light": light})
    table.write_parquet(data.snapshot / "rows.parquet")
    pl.DataFrame({"row_id": range(rows), "data": [_png(picture) for picture in pictures]}).write_parquet(
        data.snapshot / "images.parquet"
    )
    start = 0
    for name, count in COUNTS.items():
        part = table[start : start + count]
        index = pl.Series("label_index", labels[start : start + count], dtype=pl.Int32)
        split = part.select("row_id", "label", index, pl.col("light").alias("slice:light"))
        split.write_parquet(data.splits / f"{name}.parquet")
        start += count
    (data.splits / "columns.json").write_text("[]")
    (data.splits / "classes.json").write_text(json.dumps(CLASSES))
    info = {"counts": COUNTS, "seed": 0, "sealed_digest": "sha256:" + "5" * 64, "data_hash": "sha256:" + "d" * 64}
    (data.splits / "splits.json").write_text(json.dumps(info))
    brightness = profile("image.brightness", pictures.reshape(rows, -1).mean(axis=1))
    contrast = profile("image.contrast", pictures.reshape(rows, -1).std(axis=1))
    reference = Reference(features=[brightness, contrast], classes=dict.fromkeys(CLASSES, 50))
    write_reference(data.splits / "reference.json", reference)
    return data


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without runs; making one takes seconds."""
    folder = tmp_path_factory.mktemp("mlflow")
    connect(folder)
    return folder / "mlflow.db"


@pytest.fixture
def home(tmp_path: Path, empty_mlflow: Path) -> Path:
    """A home with an empty MLflow."""
    folder = tmp_path / "home"
    folder.mkdir()
    shutil.copyfile(empty_mlflow, folder / "mlflow.db")
    return folder


@pytest.fixture(scope="session")
def session_home(tmp_path_factory: pytest.TempPathFactory, empty_mlflow: Path) -> Path:
    """A home that the tests share which need a trained or a released model."""
    folder = tmp_path_factory.mktemp("shared") / "home"
    folder.mkdir()
    shutil.copyfile(empty_mlflow, folder / "mlflow.db")
    return folder


OpenRun = Callable[..., RunContext]


@pytest.fixture(scope="session")
def open_run_at() -> OpenRun:
    """Open a new run: `open_run_at(folder, home=home, **parts of the plan that differ)`."""

    def open_at(folder: Path, *, home: Path, **changes: Any) -> RunContext:
        folder.mkdir(parents=True, exist_ok=True)
        plan = folder / "plan.yaml"
        plan.write_text(yaml.safe_dump({**PLAN, **changes}))
        return create_run(folder / "run", run_id=folder.name, plan_path=plan, home=home)

    return open_at


@pytest.fixture(scope="session")
def made(bars: Data, session_home: Path, open_run_at: OpenRun) -> Made:
    """The plan above, trained and optimised."""
    root = session_home.parent
    made = Made(open_run_at(root / "first", home=session_home), root / "model", root / "bundle")
    run_train(made.context, snapshot=bars.snapshot, splits=bars.splits, model=made.model)
    run_optimise(made.context, snapshot=bars.snapshot, splits=bars.splits, model=made.model, bundle=made.bundle)
    return made


@pytest.fixture
def bundle(made: Made, tmp_path: Path) -> Path:
    """A copy of the trained bundle that a test may damage."""
    return shutil.copytree(made.bundle, tmp_path / "bundle")


@pytest.fixture
def sealing_run(made: Made, tmp_path: Path) -> RunContext:
    """The run that sealed the bundle, in a home of its own, with its dossier; a newer run has sealed nothing."""
    folder = tmp_path / "home" / "runs" / "sealed"
    shutil.copytree(made.context.run, folder)
    (tmp_path / "home" / "runs" / "newer").mkdir()
    (tmp_path / "home" / "runs" / "newer" / "run.json").write_text("{}")
    context = open_run(str(folder))
    run_dossier(context)
    return context
