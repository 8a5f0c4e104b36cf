"""Smaller forms of a model: taken where no slice pays for them, refused by the first slice that may."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError
from tests.components.trained import PLAN, Data

from sextant_components.data.tables import read_split, slices_of
from sextant_components.modelling.engine_bench import open_bench
from sextant_components.modelling.int8 import TOLERANCE
from sextant_components.modelling.model_file import write_model
from sextant_components.modelling.objectives import Classes, Numbers
from sextant_components.modelling.optimise import run_optimise
from sextant_components.modelling.slice_losses import record_form, refused_by, slice_losses
from sextant_components.modelling.smaller_models import Workshop, mixed_labels, smaller
from sextant_components.modelling.tensors import Examples
from sextant_components.modelling.train import read_inputs, run_train
from sextant_components.modelling.training import Fitted, Settings, Shape, fit, predict
from sextant_components.modelling.tuning import size
from sextant_components.runs.context import Step
from sextant_plan.bundle import read_bundle
from sextant_plan.ledger import Record, read_run
from sextant_plan.schema import ImageInput, Model
from sextant_plan.verdicts import Verdict
from sextant_serving.architectures import as_begun, build, slim
from sextant_serving.engines import check_golden, load_engine

Open = Callable[..., Any]
LARGE = Settings("mlp", {"hidden": 48, "layers": 2}, 1e-2, 1e-4, 6, 16, seed=0)


def _answers(labels: NDArray[np.int64], wrong: NDArray[np.bool_]) -> NDArray[np.float32]:
    said = np.where(wrong, (labels + 1) % 3, labels)
    return np.eye(3, dtype=np.float32)[said]


def test_a_loss_on_one_slice_refuses_where_the_whole_does_not() -> None:
    """Forty wrong rows of two thousand are little; all of them in one slice of two hundred are not."""
    labels = (np.arange(2000) % 3).astype(np.int64)
    none, some = np.zeros(2000, np.bool_), np.arange(2000) < 40
    light = ["night" if row < 200 else "day" for row in range(2000)]
    losses = slice_losses(
        Classes(), _answers(labels, none), _answers(labels, some), labels, {"light": light}, spread=1.0
    )
    assert refused_by(losses, 0.05) == ["light=night"]
    assert losses["light=night"].value == pytest.approx(0.2)
    assert losses["all rows"].n == 2000


def test_a_slice_of_one_group_refuses_and_can_be_recorded(tmp_path: Path, home: Path, open_run_at: Open) -> None:
    """The rows of one customer say nothing of others: their mean error has no bound, and JSON no word for that."""
    labels, groups = np.linspace(0, 100, 60), np.arange(60) // 20
    exact = labels.reshape(-1, 1).astype(np.float32)
    customer = [f"c{group}" for group in groups]
    losses = slice_losses(Numbers(50.0, 30.0), exact, exact, labels, {"customer": customer}, spread=30.0, groups=groups)
    assert refused_by(losses, 0.05) == ["customer=c0", "customer=c1", "customer=c2"]
    context = open_run_at(tmp_path / "r1", home=home)
    with context.ledger(Step.OPTIMISE) as ledger:
        record_form(ledger, "int8", losses, tolerated=0.05, taken=False, sizes=(2, 1))
    (record, _) = read_run(context.run)[Step.OPTIMISE]
    table = json.loads(context.artifacts.read_bytes(record.artifacts["slices.json"]))
    assert table["customer=c1"] == [0.0, None, None, 1]


def test_a_slice_too_small_to_tell_refuses() -> None:
    """Five rows without a loss do not rule one out."""
    labels = (np.arange(500) % 3).astype(np.int64)
    answers = _answers(labels, np.zeros(500, np.bool_))
    rare = ["yes" if row < 5 else "no" for row in range(500)]
    assert refused_by(slice_losses(Classes(), answers, answers, labels, {"rare": rare}, spread=1.0), 0.05) == [
        "rare=yes"
    ]


def test_numbers_lose_in_units_of_the_labels_spread() -> None:
    """An error that grows by two where labels spread by twenty is a loss of a tenth."""
    labels = np.linspace(0.0, 60.0, 200)
    exact, off = labels[:, None].astype(np.float32), (labels[:, None] + 2).astype(np.float32)
    losses = slice_losses(Numbers(30.0, 20.0), exact, off, labels, {}, spread=20.0)
    assert losses["all rows"].value == pytest.approx(0.1, abs=1e-5)


TINY_VIT = {"side": 16, "patch": 8, "layers": 2, "heads": 2, "width": 16}


@pytest.mark.parametrize(
    ("architecture", "params", "image", "slimmed"),
    [
        pytest.param("mlp", {"hidden": 8, "layers": 2}, False, {"hidden": 6, "layers": 2}, id="mlp"),
        pytest.param("small-cnn", {"width": 8}, True, {"width": 6}, id="small-cnn"),
        pytest.param("fusion", {"width": 8, "hidden": 4}, True, {"width": 6, "hidden": 4}, id="fusion"),
        pytest.param("resnet18", {"inner": 8}, True, {"inner": 6}, id="resnet18"),
        pytest.param("efficientnet-b0", {}, True, {"inner": 75}, id="efficientnet-b0"),
        pytest.param("mobilenet-v3-small", {}, True, {"inner": 75}, id="mobilenet-v3-small"),
        pytest.param("vit", TINY_VIT, True, {**TINY_VIT, "hidden": 48}, id="vit"),
    ],
)
def test_units_whose_weights_are_zero_are_the_ones_left_out(
    architecture: str, params: dict[str, Any], image: bool, slimmed: Mapping[str, Any]
) -> None:
    """A network that never used a quarter of its units answers the same without them."""
    import torch

    spec = ImageInput(height=12, width=12, channels=1) if image else None
    torch.manual_seed(0)
    network = build(architecture, params, image=spec, columns=3, classes=2)
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            if "head" not in name and "table" not in name:
                tensor[: len(tensor) // 4] = 0.0
    found = slim(architecture, network, params, share=0.25)
    assert found is not None
    smaller_params, state = found
    assert smaller_params == slimmed
    small = build(architecture, smaller_params, image=spec, columns=3, classes=2)
    small.load_state_dict(state)
    generator = np.random.default_rng(1)
    inputs: dict[str, NDArray[Any]] = {"features": generator.normal(size=(7, 3)).astype(np.float32)}
    if image:
        inputs["image"] = generator.integers(0, 255, (7, 12, 12, 1)).astype(np.uint8)
    np.testing.assert_allclose(predict(small, inputs), predict(network, inputs), atol=1e-6)


def test_a_pruned_backbone_does_not_ask_for_the_weights_that_the_whole_one_began_with(tmp_path: Path) -> None:
    """They no longer fit; it begins with what is left of the network that was fitted from them."""
    shape = Shape(ImageInput(height=16, width=16, channels=1), [], ["a", "b"], plan_dir=tmp_path)
    pictures = np.random.default_rng(0).integers(0, 255, (8, 16, 16, 1)).astype(np.uint8)
    rows = Examples(list(range(8)), {"image": pictures}, np.arange(8) % 2)
    whole = build("vit", TINY_VIT, image=shape.image, columns=0, classes=2)
    slimmed = slim("vit", whole, {**TINY_VIT, "weights": "published.safetensors"}, share=0.5)
    assert slimmed is not None
    params, start = slimmed
    fitted = fit(Settings("vit", params, 1e-3, 0.0, 1, 8, seed=0), shape, rows, rows, start=start)
    assert params["hidden"] == 32
    assert as_begun("vit", params) == {**TINY_VIT, "weights": "published.safetensors"}
    assert size(fitted) < sum(tensor.numel() for tensor in whole.parameters())


def test_what_was_pruned_can_be_pruned_again() -> None:
    """Half of a half is a quarter of the whole, block by block, whatever the first half rounded to."""
    image = ImageInput(height=12, width=12, channels=1)
    half = build("mobilenet-v3-small", {"inner": 49}, image=image, columns=0, classes=2)
    found = slim("mobilenet-v3-small", half, {"inner": 49}, share=0.5)
    assert found is not None
    params, state = found
    assert params == {"inner": 24}
    build("mobilenet-v3-small", params, image=image, columns=0, classes=2).load_state_dict(state)


def test_an_architecture_without_hidden_units_is_not_pruned() -> None:
    """A linear model has nothing to leave out."""
    network = build("linear", {}, image=None, columns=3, classes=2)
    assert slim("linear", network, {}, share=0.5) is None


def test_a_student_is_taught_probabilities_and_a_part_of_the_label() -> None:
    """Each row sums to one, and the label outweighs a teacher that is wrong without being sure."""
    taught = np.asarray([[0.4, 0.5, 0.1], [0.98, 0.01, 0.01]], np.float32)
    lesson = mixed_labels(np.asarray([0, 0]), taught)
    np.testing.assert_allclose(lesson.sum(axis=1), 1.0, rtol=1e-6)
    assert (lesson.argmax(axis=1) == 0).all()
    np.testing.assert_allclose(mixed_labels(np.asarray([10.0]), np.asarray([[20.0]], np.float32)), [17.0])


@pytest.fixture
def bench(bars: Data, open_run_at: Open, home: Path, tmp_path: Path) -> Callable[..., tuple[Any, Workshop]]:
    """A run, and a workshop around a network that is larger than it need be: `bench(compress={...})`."""

    def opened(**compress: Any) -> tuple[Any, Workshop]:
        context = open_run_at(tmp_path / "run", home=home, model={**PLAN["model"], "compress": compress})
        shape, train, valid = read_inputs(context, bars.snapshot, bars.splits)
        slices = slices_of(context.plan, read_split(bars.splits, "valid"))
        return context, Workshop(context.plan.model, [fit(LARGE, shape, train, valid)], shape, train, valid, slices)

    return opened


def _smaller(context: Any, workshop: Workshop) -> tuple[list[Fitted], dict[str, Record]]:
    with context.ledger(Step.TRAIN) as ledger:
        kept = smaller(ledger, workshop)
    return kept, {record.task: record for record in read_run(context.run)["train"]}


@pytest.mark.parametrize(
    ("compress", "form"),
    [
        pytest.param(
            {"distil": {"architecture": "mlp", "params": {"hidden": 12, "layers": 1}}}, "distilled", id="distil"
        ),
        pytest.param({"prune": 0.5}, "pruned", id="prune"),
    ],
)
def test_a_smaller_model_is_taken_or_refused_by_what_the_plan_tolerates(
    bench: Any, compress: dict[str, Any], form: str
) -> None:
    """A tolerance of nearly everything takes it, one of nearly nothing refuses it, and both are on record."""
    context, workshop = bench(**compress, slice_loss=0.9)
    kept, records = _smaller(context, workshop)
    assert size(kept[0]) < size(workshop.members[0])
    assert records[f"compression: {form}"].value["taken"] is True
    strict = Model.model_validate({**PLAN["model"], "compress": {**compress, "slice_loss": 1e-6}})
    kept, records = _smaller(context, replace(workshop, model=strict))
    assert kept == list(workshop.members)
    assert records[f"compression: {form}"].value["taken"] is False
    assert "light=night" in records[f"compression: {form}"].value["refused_by"]


def test_what_has_no_hidden_units_is_said_not_to_be_pruned(bench: Any) -> None:
    """The plan asked for it, so the record is there and unknown."""
    context, workshop = bench(prune=0.5)
    settings = replace(LARGE, architecture="linear", params={})
    linear = fit(settings, workshop.shape, workshop.train, workshop.valid)
    kept, records = _smaller(context, replace(workshop, members=[linear]))
    assert kept == [linear]
    assert records["compression: pruned"].verdict is Verdict.UNKNOWN
    assert "no hidden units" in str(records["compression: pruned"].value)


def test_the_train_step_hands_over_the_smaller_model(bars: Data, open_run_at: Open, home: Path, tmp_path: Path) -> None:
    """What optimise reads is the student, with its own architecture."""
    compress = {"distil": {"architecture": "mlp", "params": {"hidden": 4, "layers": 1}}, "slice_loss": 0.95}
    candidates = [{"architecture": "mlp", "params": {"hidden": 40}}]
    model = {**PLAN["model"], "candidates": candidates, "compress": compress, "search": {"trials": 1}, "epochs": 3}
    context = open_run_at(tmp_path / "run", home=home, model=model)
    run_train(context, snapshot=bars.snapshot, splits=bars.splits, model=tmp_path / "model")
    found = open_bench(context, bars.snapshot, bars.splits, tmp_path / "model")
    assert found.model.params == {"hidden": 4, "layers": 1}
    assert len(found.members) == 1


@pytest.fixture
def optimised(bars: Data, open_run_at: Open, home: Path, tmp_path: Path) -> Callable[..., dict[str, Record]]:
    """Return a function that optimises a network large enough to gain from int8 and returns the step's records."""

    def run(bundle: Path, **compress: Any) -> dict[str, Record]:
        model = {**PLAN["model"], "engines": ["onnx"], "compress": {"int8": "static", "aim": "size", **compress}}
        context = open_run_at(tmp_path / f"run-{bundle.name}", home=home, model=model)
        shape, train, valid = read_inputs(context, bars.snapshot, bars.splits)
        write_model(tmp_path / "model", [fit(LARGE, shape, train, valid)], shape, [], [])
        run_optimise(context, snapshot=bars.snapshot, splits=bars.splits, model=tmp_path / "model", bundle=bundle)
        return {record.task: record for record in read_run(context.run)["optimise"]}

    return run


def test_an_int8_bundle_is_smaller_and_answers_its_own_golden_requests(optimised: Any, tmp_path: Path) -> None:
    """Static int8 where the plan aims at size: sealed as ONNX, with a wider tolerance for other processors."""
    found = optimised(tmp_path / "small", slice_loss=0.9)["compression: int8"].value
    spec = read_bundle(tmp_path / "small")
    assert found["taken"] is True
    assert found["size_after"] < found["size_before"]
    assert (spec.engine, spec.golden_tolerance) == ("onnx", TOLERANCE)
    assert b"QuantizeLinear" in (tmp_path / "small" / "model.onnx").read_bytes()
    check_golden(load_engine(tmp_path / "small", spec), tmp_path / "small", spec)


def test_an_int8_form_that_a_slice_may_pay_for_is_refused(optimised: Any, tmp_path: Path) -> None:
    """Full precision is sealed, and the record names the slices."""
    found = optimised(tmp_path / "whole", slice_loss=1e-6)["compression: int8"].value
    assert found["taken"] is False
    assert "light=day" in found["refused_by"]
    assert read_bundle(tmp_path / "whole").golden_tolerance == 1e-4
    assert b"QuantizeLinear" not in (tmp_path / "whole" / "model.onnx").read_bytes()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        pytest.param({"compress": {"int8": "static"}, "engines": ["torch-safetensors"]}, "add onnx", id="no-onnx"),
        pytest.param({"compress": {"distil": {"architecture": "gradient-boosting"}}}, "name a network", id="trees"),
    ],
)
def test_a_plan_asks_for_forms_that_exist(changes: dict[str, Any], told: str) -> None:
    """Trees learn labels, and int8 is a form of the ONNX file."""
    with pytest.raises(ValidationError, match=told):
        Model.model_validate({**PLAN["model"], **changes})
