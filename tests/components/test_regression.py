"""A label that is a number: learned, bounded, compared and served in its own unit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from sextant_components.data.number_labels import strata_of
from sextant_components.evaluation.criteria import Evidence
from sextant_components.evaluation.number_criteria import ANSWERS
from sextant_components.evidence import number_metrics
from sextant_components.evidence.gates import unavailable
from sextant_components.evidence.number_metrics import NumberAnswers
from sextant_components.modelling.baseline import fit_baseline
from sextant_components.modelling.boosting import fit_trees
from sextant_components.modelling.bundle_export import write_weights
from sextant_components.modelling.objectives import Numbers
from sextant_components.modelling.sanity import overfit_one_batch
from sextant_components.modelling.tensors import Examples
from sextant_components.modelling.training import Fitted, Settings, Shape, fit
from sextant_components.modelling.tuning import choose, search
from sextant_plan.bounds import mean
from sextant_plan.bundle import BundleSpec, Column, Engine, Member, ServingSpec, Tensor
from sextant_plan.feedback import Feedback
from sextant_plan.reference import Reference, profile
from sextant_plan.schema import Baseline, Candidate, Criterion, Model
from sextant_serving.answers import form_of
from sextant_serving.codec_v1 import describe_rows
from sextant_serving.engines import load_engine
from sextant_serving.errors import BadRequest
from sextant_serving.feedback import FeedbackBook
from sextant_serving.metrics import ModelMetrics
from sextant_serving.row_counts import Seen
from sextant_serving.rows import Answer

SHAPE = Shape(None, [Column(name="x"), Column(name="y")], [])
SETTINGS = Settings("mlp", {"hidden": 16, "layers": 1}, 3e-2, 1e-4, 20, 16, seed=0)
TREES = Settings("gradient-boosting", {"leaf_rows": 5}, 0.1, 0.0, 1, 1, seed=0)


def _examples(rows: int, *, seed: int = 0) -> Examples:
    """Rows whose label is 1000 + 50 (2x - y), far from zero, as prices and temperatures in kelvin are."""
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(rows, 2)).astype(np.float32)
    labels = 1000 + 50 * (2 * features[:, 0] - features[:, 1]) + generator.normal(scale=5, size=rows)
    return Examples(list(range(rows)), {"features": features}, labels.astype(np.float64))


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    """A perceptron on 200 rows."""
    return fit(SETTINGS, SHAPE, _examples(200), _examples(80, seed=1))


def test_a_network_learns_a_number_in_its_own_unit(fitted: Fitted) -> None:
    """Scaling is the network's own: the answers are about 1000, not about 0."""
    assert fitted.score > 0.95
    assert abs(float(fitted.outputs.mean()) - 1000) < 60


def test_trees_learn_a_number() -> None:
    """The rival answers in the same unit and its rounds are scored alike."""
    valid = _examples(80, seed=1)
    trees = fit_trees(TREES, SHAPE, _examples(200), valid)
    assert trees.score > 0.8
    assert trees.outputs.shape == (80, 1)
    assert max(epoch.valid_score for epoch in trees.history) == pytest.approx(trees.score, abs=1e-6)


def test_every_candidate_learns_a_few_numbers_by_heart() -> None:
    """A line has as many slopes as columns, so it is asked for no more rows than that."""
    for architecture in ("linear", "mlp", "gradient-boosting"):
        assert overfit_one_batch(Settings(architecture, {}, 3e-3, 0.0, 1, 16, 0), SHAPE, _examples(100)) >= 0.95


def test_the_search_takes_the_simplest_that_is_not_proved_worse() -> None:
    """On a linear label the line is kept, whatever the larger candidates reach."""
    model = Model.model_validate(
        {
            "task": "tabular-regression",
            "inputs": {"columns": ["x", "y"]},
            "candidates": [Candidate(architecture="mlp"), Candidate(architecture="linear")],
            "epochs": 15,
            "batch_size": 16,
            "search": {"trials": 2, "learning_rate": (1e-2, 1e-1)},
        }
    )
    valid = _examples(80, seed=1)
    assert choose(search(model, SHAPE, _examples(200), valid), valid, 0.95)[0] == "linear"


@pytest.mark.parametrize("engine", ["onnx", "torch-safetensors"])
def test_each_engine_answers_as_the_network(engine: Engine, fitted: Fitted, tmp_path: Path) -> None:
    """The scale of the label travels with the weights."""
    inputs = _examples(80, seed=1).inputs
    write_weights(engine, [fitted.network], tmp_path, inputs)
    name = next(path.name for path in tmp_path.iterdir())
    member = Member(file=name, architecture="mlp", params={"hidden": 16, "layers": 1})
    found = load_engine(tmp_path, _spec(engine, member)).run(inputs)
    np.testing.assert_allclose(found, fitted.outputs, atol=1e-2)


def _spec(engine: Engine, member: Member) -> BundleSpec:
    serving = ServingSpec(
        max_rows=8,
        max_wait=0.0,
        queue_rows=8,
        deadline=1.0,
        latency_edges_ms=[10.0],
        abstain_below=0.0,
        missing_features="default",
    )
    return BundleSpec(
        name="numbers",
        version="1",
        task="tabular-regression",
        engine=engine,
        members=[member],
        image=None,
        columns=SHAPE.columns,
        entity=None,
        feature_service=None,
        classes=[],
        inputs=[Tensor(name="features", datatype="FP32", shape=[-1, 2])],
        outputs=[Tensor(name="value", datatype="FP32", shape=[-1, 1])],
        serving=serving,
        golden_tolerance=0.01,
        plan_hash="sha256:" + "0" * 64,
        data_hash="sha256:" + "0" * 64,
        created=0.0,
        files={},
    )


def _answer(values: list[float], *, abstained: bool = False) -> Answer:
    outputs = np.asarray(values, dtype=np.float32).reshape(-1, 1)
    rows = len(values)
    return Answer(outputs, np.zeros(rows, dtype=np.intp), np.full(rows, abstained), [None] * rows)


def test_the_server_says_a_number_and_no_label() -> None:
    """A v1 prediction has `value`; one that is withheld has null."""
    form = form_of(_spec("onnx", Member(file="model.onnx", architecture="mlp")))
    assert describe_rows(_answer([151.5]), form, ["a"])[0]["value"] == 151.5
    assert describe_rows(_answer([151.5], abstained=True), form, ["a"])[0]["value"] is None
    assert form.tensor("value", _answer([1.0, 2.0])).shape == [2, 1]


def test_a_number_that_is_negative_is_answered() -> None:
    """The confidence below which classes are withheld does not concern numbers."""
    form = form_of(_spec("onnx", Member(file="model.onnx", architecture="mlp")))
    assert not form.unsure(np.asarray([[-5.0]], dtype=np.float32), 0.0).any()


def test_answers_are_counted_by_the_bins_of_the_training_labels() -> None:
    """So that a drift of the predictions is seen as that of an input is."""
    spec = _spec("onnx", Member(file="model.onnx", architecture="mlp"))
    bins = profile("prediction", np.arange(100.0), 4)
    metrics = ModelMetrics(spec, Reference(features=[], classes={}, prediction=bins), ("numbers", "1", "stable"))
    metrics.seen.see(Seen(None, None, np.asarray([[1.0], [99.0], [98.0]], dtype=np.float32), np.zeros(3, np.bool_)))
    assert metrics.seen.bins()[-1].rows.tolist() == [1, 0, 0, 2]
    metrics.count_rows(np.zeros(3, dtype=np.intp), np.zeros(3, dtype=np.bool_), [None] * 3)
    assert metrics.predictions.tolist() == [3]


@pytest.fixture
def book(tmp_path: Path) -> Iterator[tuple[FeedbackBook, ModelMetrics]]:
    """A feedback book that remembers the answer 151.2 of the prediction `a`, and who counts for it."""
    spec = _spec("onnx", Member(file="model.onnx", architecture="mlp"))
    metrics = ModelMetrics(spec, Reference(features=[], classes={}), ("numbers", "1", "stable"))
    made = FeedbackBook(8, tmp_path / "feedback.jsonl")
    made.remember(["a"], form_of(spec).labels(_answer([151.2])), metrics)
    yield made, metrics
    made.close()


def test_a_label_that_comes_back_is_measured_not_judged(book: tuple[FeedbackBook, ModelMetrics]) -> None:
    """151.2 is not wrong because the truth was 151.0; the log has both."""
    assert book[0].receive(Feedback(prediction_id="a", label="151.0"), book[1]) == "measured"


@pytest.mark.parametrize("label", ["nan", "inf", "1e400", "heavy", "1_000", " 5"])
@pytest.mark.parametrize("prediction", ["a", "forgotten"])
def test_a_label_that_is_no_number_is_refused_and_takes_nothing_from_the_next(
    book: tuple[FeedbackBook, ModelMetrics], tmp_path: Path, prediction: str, label: str
) -> None:
    """The field is named, nothing is counted or logged, and the number that is sent then is the first label."""
    made, metrics = book
    with pytest.raises(BadRequest, match=r"label: not a finite number.* Send one as text") as caught:
        made.receive(Feedback(prediction_id=prediction, label=label, rating=1), metrics)
    assert (caught.value.status, sum(metrics.feedback.values()), sum(metrics.ratings.values())) == (400, 0, 0)
    assert (tmp_path / "feedback.jsonl").read_bytes() == b""
    assert made.receive(Feedback(prediction_id="a", label="-1.5e2"), metrics) == "measured"


def test_the_bounds_of_the_errors_hold_as_often_as_they_say() -> None:
    """Of 400 samples of 100 rows, one bound in twenty may miss, give or take three standard errors."""
    generator = np.random.default_rng(0)
    missed = {"mae": 0, "rmse": 0}
    truth = {"mae": np.sqrt(2 / np.pi), "rmse": 1.0}
    for _ in range(400):
        answers = NumberAnswers(generator.normal(size=100), np.zeros(100))
        for name, metric in (("mae", number_metrics.mae), ("rmse", number_metrics.rmse)):
            missed[name] += metric(answers, 0.95).high < truth[name]
    assert all(count <= 20 + 3 * np.sqrt(400 * 0.05 * 0.95) for count in missed.values()), missed


def test_errors_of_groups_are_bounded_by_their_groups() -> None:
    """Thirty groups of ten rows that err alike are worth thirty rows to every metric of numbers."""
    generator, groups = np.random.default_rng(2), np.repeat(np.arange(30), 10)
    errors, labels = np.repeat(generator.normal(size=30), 10), np.repeat(generator.normal(0, 3, 30), 10)
    alone = NumberAnswers(labels + errors, labels)
    found = replace(alone, groups=groups)
    halves = ["low", "high"] * 150
    for metric in (
        number_metrics.mae,
        number_metrics.rmse,
        number_metrics.r_squared,
        lambda answers, confidence: number_metrics.mae_gap(answers, halves, confidence),
    ):
        one, other = metric(found, 0.95), metric(alone, 0.95)
        assert one.value == other.value
        assert one.n in {29, 30}
        assert one.high - one.low > 2 * (other.high - other.low)
    objective, own = Numbers.of(labels), -np.abs(errors)
    assert objective.gain(own, 2 * own, 0.95, groups).n in {29, 30}
    assert objective.level(own, 0.95, groups).n in {29, 30}


def test_r_squared_is_one_without_errors_and_none_for_the_mean() -> None:
    """The two ends by which everybody reads it."""
    labels = np.arange(50.0)
    assert number_metrics.r_squared(NumberAnswers(labels, labels), 0.95).value == 1.0
    assert number_metrics.r_squared(NumberAnswers(np.full(50, 24.5), labels), 0.95).value == pytest.approx(0.0)


def test_a_gap_between_groups_is_seen_and_equal_groups_have_no_proved_one() -> None:
    """The lower bound tells a real gap from chance."""
    generator = np.random.default_rng(1)
    errors = generator.normal(size=200)
    groups = ["a", "b"] * 100
    even = number_metrics.mae_gap(NumberAnswers(errors, np.zeros(200)), groups, 0.95)
    worse = np.where(np.asarray(groups) == "b", 5 * errors, errors)
    uneven = number_metrics.mae_gap(NumberAnswers(worse, np.zeros(200)), groups, 0.95)
    assert even.low == 0.0
    assert uneven.low > 1.0


def test_against_the_baseline_the_errors_of_the_same_rows_are_compared(open_run_at: Any, tmp_path: Path) -> None:
    """On the slice's own rows: what the model errs by beyond the baseline, less than none where it is closer."""
    labels, rows = np.linspace(0, 100, 60), np.arange(60)
    off, others = np.where(rows < 30, 1.0, 5.0), np.where(rows < 30, -3.0, -2.0) + 0.01 * rows
    evidence = Evidence(
        plan=open_run_at(tmp_path / "r1", home=tmp_path / "home").plan,
        classes=[],
        answers=NumberAnswers(labels + off, labels),
        slices={"half": ["low"] * 30 + ["high"] * 30},
        others={"baseline": others},
        corrupted={},
        probe=unavailable("no server was asked"),
    )
    for half, rows_of_it in (("low", rows < 30), ("high", rows >= 30)):
        limit = {"id": "c", "metric": "mae", "at_most": 0.0, "relative_to": "baseline", "slice": f"half={half}"}
        found = ANSWERS["mae"](Criterion.model_validate(limit), evidence)
        assert found == mean(off[rows_of_it] + others[rows_of_it], 0.95)


def test_a_gain_is_the_error_saved_on_the_same_rows() -> None:
    """In the label's unit, above zero where the first is closer."""
    labels = np.arange(40.0)
    objective = Numbers.of(labels)
    near = objective.merit((labels + 1).reshape(-1, 1).astype(np.float32), labels)
    far = objective.merit_of((labels + 3).tolist(), labels.tolist())
    assert objective.gain(near, far, 0.95).value == pytest.approx(2.0)


def test_one_row_has_no_bounds() -> None:
    """No spread is known of a single number."""
    assert mean([3.0], 0.95).low == -np.inf


def test_the_baseline_of_numbers_is_their_mean() -> None:
    """The constant that no model should be worse than."""
    assert fit_baseline(Baseline(kind="mean"), [1.0, 2.0, 6.0]).predict([{}, {}]) == [3.0, 3.0]


def test_splits_keep_to_the_size_of_the_label() -> None:
    """Ten strata of equal rows, in order; few rows get fewer of them."""
    strata = strata_of(list(np.arange(200.0)))
    assert pl.Series(strata).value_counts()["count"].to_list() == [20] * 10
    assert len(set(strata_of([1.0, 2.0, 3.0]))) == 1
