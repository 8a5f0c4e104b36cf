"""Gradient boosting: the rival on tables, from the search to the served bundle."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from sextant_components.modelling.boosting import PATIENCE, fit_trees
from sextant_components.modelling.bundle_export import engines_for, write_golden, write_weights
from sextant_components.modelling.explanation import permutation_importance, randomised
from sextant_components.modelling.model_file import load_members, read_model, write_model
from sextant_components.modelling.optimise import run_optimise
from sextant_components.modelling.sanity import overfit_one_batch
from sextant_components.modelling.tensors import Examples
from sextant_components.modelling.train import run_train
from sextant_components.modelling.training import Settings, Shape, predict
from sextant_components.modelling.tuning import Found, search
from sextant_plan.bundle import PROBABILITIES, BundleSpec, Column, Member, ServingSpec, Tensor, read_bundle, seal_bundle
from sextant_plan.errors import BundleCorrupt
from sextant_plan.ledger import read_run
from sextant_plan.schema import Model
from sextant_plan.verdicts import Verdict
from sextant_serving.architectures import ArchitectureMisfit
from sextant_serving.engines import check_golden, load_engine

SHAPE = Shape(None, [Column(name="x"), Column(name="y"), Column(name="kind", vocabulary=["p", "q"])], ["a", "b", "c"])
SETTINGS = Settings("gradient-boosting", {"trees": 40, "leaves": 7, "leaf_rows": 3}, 0.2, 0.0, 1, 16, seed=0)


def _examples(rows: int, *, seed: int = 0) -> Examples:
    """Rows whose class hangs on a product and a category, which no line separates."""
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(rows, 3)).astype(np.float32)
    features[:, 2] = generator.integers(0, 2, rows)
    labels = np.where(features[:, 2] == 1, 2, features[:, 0] * features[:, 1] > 0)
    return Examples(list(range(rows)), {"features": features}, labels.astype(np.int64))


def test_the_same_seed_gives_the_same_file_and_another_seed_does_not(tmp_path: Path) -> None:
    """Byte for byte, so that a run can be repeated as evidence."""
    train, valid = _examples(200), _examples(100, seed=1)
    first, again, other = (fit_trees(replace(SETTINGS, seed=seed), SHAPE, train, valid) for seed in (0, 0, 1))
    for name, fitted in {"first": first, "again": again}.items():
        write_weights("lightgbm", [fitted.network], tmp_path / name, {})
    files = [tmp_path / name / "model.lightgbm.txt" for name in ("first", "again")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert not np.array_equal(first.outputs, other.outputs)


def test_trees_are_no_longer_added_when_the_validation_loss_rises() -> None:
    """On labels that nothing determines, the search for more trees ends `PATIENCE` rounds after the best."""
    train, valid = _examples(200), _examples(100, seed=1)
    shuffled = replace(train, labels=np.random.default_rng(2).permutation(train.labels))
    fitted = fit_trees(replace(SETTINGS, params={"trees": 400}), SHAPE, shuffled, valid)
    losses = [epoch.valid_loss for epoch in fitted.history]
    assert len(losses) == int(np.argmin(losses)) + 1 + PATIENCE
    assert fitted.loss == pytest.approx(min(losses), rel=1e-5)


def test_trees_learn_a_batch_by_heart_and_see_one_that_cannot_be() -> None:
    """The wiring check holds for trees as for networks."""
    rows = _examples(100)
    blind = replace(rows, inputs={"features": np.zeros_like(rows.inputs["features"])})
    assert overfit_one_batch(SETTINGS, SHAPE, rows) == 1.0
    assert overfit_one_batch(SETTINGS, SHAPE, blind) < 0.9


def test_a_parameter_that_trees_do_not_have_is_refused() -> None:
    """The error names the candidate and the parameters there are."""
    with pytest.raises(ArchitectureMisfit, match=r"gradient-boosting: no parameter named depth.*leaves"):
        fit_trees(replace(SETTINGS, params={"depth": 3}), SHAPE, _examples(50), _examples(50))


@pytest.fixture(scope="module")
def found() -> Found:
    """A search over a network and trees."""
    model = Model.model_validate(
        {
            "task": "tabular-classification",
            "inputs": {"columns": ["x", "y", "kind"]},
            "candidates": [{"architecture": "linear"}, {"architecture": "gradient-boosting", "params": {"trees": 30}}],
            "epochs": 2,
            "batch_size": 32,
            "search": {"trials": 5},
        }
    )
    return search(model, SHAPE, _examples(200), _examples(100, seed=1))


def test_the_search_varies_the_settings_of_trees(found: Found) -> None:
    """Learning rate and leaves differ from trial to trial, and both are in the table of trials."""
    trials = [trial for trial in found.trials if trial.candidate == "gradient-boosting"]
    assert len(trials) > 1
    assert len({trial.params["leaves"] for trial in trials}) > 1
    assert len({trial.learning_rate for trial in trials}) == len(trials)


def test_trees_win_where_no_line_separates_the_classes(found: Found) -> None:
    """The rival is a real one."""
    assert found.best["gradient-boosting"].score > found.best["linear"].score + 0.1


@pytest.fixture
def bundle(found: Found, tmp_path: Path) -> Path:
    """The best trees of the search in a sealed bundle, by way of the model's own folder."""
    fitted = found.best["gradient-boosting"]
    write_model(tmp_path / "model", [fitted], SHAPE, found.trials, [])
    described = read_model(tmp_path / "model")
    (trees,) = load_members(tmp_path / "model", described)
    folder, golden = tmp_path / "bundle", _examples(16, seed=3).inputs
    (engine,) = engines_for(trees, ["torch-safetensors", "onnx"])
    write_weights(engine, [trees], folder, golden)
    write_golden(folder, [trees], golden, PROBABILITIES)
    serving = ServingSpec(
        max_rows=8,
        max_wait=0.0,
        queue_rows=8,
        deadline=1.0,
        latency_edges_ms=[100.0],
        abstain_below=0.0,
        missing_features="default",
    )
    spec = BundleSpec(
        name="shapes",
        version="1",
        task="tabular-classification",
        engine=engine,
        members=[Member(file="model.lightgbm.txt", architecture="gradient-boosting", params=described.params)],
        image=None,
        columns=SHAPE.columns,
        entity=None,
        feature_service=None,
        classes=SHAPE.classes,
        inputs=[Tensor(name="features", datatype="FP32", shape=[-1, 3])],
        outputs=[Tensor(name="probabilities", datatype="FP32", shape=[-1, 3])],
        serving=serving,
        golden_tolerance=1e-6,
        plan_hash="sha256:" + "0" * 64,
        data_hash="sha256:" + "1" * 64,
        created=0.0,
        files={},
    )
    seal_bundle(folder, spec)
    return folder


def test_the_served_trees_answer_as_the_trained_ones(bundle: Path, found: Found) -> None:
    """The engine gives the validation rows the probabilities that the search judged, and passes the golden requests."""
    spec = read_bundle(bundle)
    engine = load_engine(bundle, spec)
    check_golden(engine, bundle, spec)
    inputs = _examples(100, seed=1).inputs
    np.testing.assert_array_equal(engine.run(inputs), found.best["gradient-boosting"].outputs)
    assert engine.run(inputs).dtype == np.float32


def test_changed_trees_are_refused_by_their_digest(bundle: Path) -> None:
    """A bundle whose trees were edited is corrupt before anything is loaded."""
    weights = bundle / "model.lightgbm.txt"
    weights.write_text(weights.read_text().replace("shrinkage=1", "shrinkage=2", 1))
    with pytest.raises(BundleCorrupt, match=r"model\.lightgbm\.txt"):
        read_bundle(bundle)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(lambda spec, file: file.write_bytes(b"no trees \xff"), "what LightGBM refuses", id="no-text"),
        pytest.param(lambda spec, file: file.write_text("no trees"), "what LightGBM refuses", id="no-model"),
    ],
)
def test_a_file_that_holds_no_trees_is_a_corrupt_bundle(bundle: Path, damage: Any, message: str) -> None:
    """The error names the file and the format."""
    spec = read_bundle(bundle)
    damage(spec, bundle / "model.lightgbm.txt")
    with pytest.raises(BundleCorrupt, match=message):
        load_engine(bundle, spec)


def test_trees_over_other_columns_are_a_corrupt_bundle(bundle: Path) -> None:
    """Trees that fit another description are found when they are loaded, not with the first request."""
    spec = read_bundle(bundle)
    with pytest.raises(BundleCorrupt, match="3 columns with 3 outputs"):
        load_engine(bundle, spec.model_copy(update={"columns": spec.columns[:2]}))


def test_an_explanation_of_trees_changes_with_what_they_learned(bundle: Path) -> None:
    """Trees fitted to random labels do not rank the columns as the trained ones do."""
    spec, rows = read_bundle(bundle), _examples(100, seed=1)
    run = load_engine(bundle, spec).run
    trained = permutation_importance(run, rows.inputs, rows.labels)
    blank = permutation_importance(randomised(spec), rows.inputs, rows.labels)
    assert trained.min() > 0.05
    assert np.abs(blank).max() < trained.max()


@pytest.fixture
def table(bars: Any, tmp_path: Path) -> Path:
    """The splits of the bars with two columns of numbers, of which one tells the classes apart."""
    splits = shutil.copytree(bars.splits, tmp_path / "splits")
    generator = np.random.default_rng(0)
    for name in ("train", "valid", "sealed"):
        split = pl.read_parquet(splits / f"{name}.parquet")
        level = split["label_index"].to_numpy() % 2 + generator.normal(0, 0.3, len(split))
        noise = generator.normal(size=len(split))
        split.with_columns(pl.Series("level", level), pl.Series("noise", noise)).write_parquet(
            splits / f"{name}.parquet"
        )
    (splits / "columns.json").write_text(json.dumps([{"name": "level"}, {"name": "noise"}]))
    return splits


def test_the_steps_seal_trees_and_weigh_networks_against_them(
    bars: Any, table: Path, home: Path, open_run_at: Any, tmp_path: Path
) -> None:
    """Train and optimise a plan with both: the rival is on record, and chosen trees are served by their own engine."""
    context = open_run_at(
        tmp_path / "first",
        home=home,
        criteria=[{"id": "accuracy", "metric": "accuracy", "at_least": 0.5, "min_n": 50}],
        data={
            "source": "data",
            "table": "table.csv",
            "columns": {"level": {"type": "number"}, "noise": {"type": "number"}, "light": {"type": "category"}},
            "licence": {"name": "CC0-1.0", "source": "drawn by the test", "allows_training": True},
            "consent": {"basis": "No person is shown."},
        },
        model={
            "task": "tabular-classification",
            "inputs": {"columns": ["level", "noise"]},
            "candidates": [
                {"architecture": "mlp", "params": {"hidden": 512, "layers": 2}},
                {"architecture": "gradient-boosting", "params": {"trees": 5}},
            ],
            "epochs": 1,
            "search": {"trials": 2},
            "seeds": 2,
        },
        evaluation={"slices": ["light"]},
    )
    model, bundle = tmp_path / "model", tmp_path / "sealed"
    run_train(context, snapshot=bars.snapshot, splits=table, model=model)
    records = {record.task: record for record in read_run(context.run)["train"]}
    rival = records["beats gradient boosting: mlp"]
    assert rival.n == 60
    assert rival.verdict in {Verdict.FAIL, Verdict.UNKNOWN}
    assert records["overfit one batch: gradient-boosting"].value > 0.95
    assert read_model(model).architecture == "gradient-boosting"
    run_optimise(context, snapshot=bars.snapshot, splits=table, model=model, bundle=bundle)
    spec = read_bundle(bundle)
    assert spec.engine == "lightgbm"
    check_golden(load_engine(bundle, spec), bundle, spec)


def test_trees_give_each_row_its_answer_whatever_the_batch(found: Found) -> None:
    """A row alone and in company gets the same probabilities."""
    network, inputs = found.best["gradient-boosting"].network, _examples(20, seed=4).inputs
    alone: list[NDArray[np.float32]] = [
        predict(network, {"features": inputs["features"][row : row + 1]}) for row in range(20)
    ]
    np.testing.assert_array_equal(np.concatenate(alone), predict(network, inputs))
