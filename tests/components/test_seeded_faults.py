"""Faults that somebody could bring in without noticing, each seeded on purpose, and the gate by name that stops it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import polars as pl
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits

from sextant_components.data.ingest import run_ingest
from sextant_components.data.verify import run_verify
from sextant_components.evaluation.criteria import Evidence, answer
from sextant_components.evaluation.evaluation_studies import record_wrong_requests
from sextant_components.evaluation.server_probe import Request, probe_server, requests_of
from sextant_components.evidence.gates import record_criterion, unavailable
from sextant_components.evidence.metrics import Answers
from sextant_components.modelling import augmentation, augmentation_check
from sextant_components.modelling.tensors import Examples
from sextant_components.runs.context import RunContext, Step
from sextant_plan.bundle import BUNDLE_FILE, BundleSpec, seal_bundle
from sextant_plan.ledger import Record, read_run
from sextant_plan.schema import Criterion
from sextant_plan.verdicts import Verdict

OpenRun = Callable[..., RunContext]
ROWS = 900
SIDE = 512  # of the slow network's matrices
PRODUCTS = 25  # 6.7e9 operations a request; the fastest cores do some 1.5e11 a second


@pytest.fixture
def context(tmp_path: Path, open_run_at: OpenRun) -> RunContext:
    """A run whose ledger can be written."""
    return open_run_at(tmp_path / "r1", home=tmp_path / "home")


def _evidence(context: RunContext, probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, Any]:
    return {
        "plan": context.plan,
        "classes": ["cross", "flat", "tall"],
        "answers": Answers(probabilities, labels),
        "slices": {"light": ["night" if row % 10 == 0 else "day" for row in range(len(labels))]},
        "others": {},
        "corrupted": {},
        "probe": unavailable("no server was asked"),
    }


def _said(labels: NDArray[np.int64], wrong: NDArray[np.bool_], confidence: float) -> NDArray[np.float32]:
    predicted = np.where(wrong, (labels + 1) % 3, labels)
    probabilities = np.full((len(labels), 3), (1 - confidence) / 2, dtype=np.float32)
    probabilities[np.arange(len(labels)), predicted] = confidence
    return probabilities


def _verdicts(context: RunContext, evidence: Evidence, *criteria: dict[str, Any]) -> dict[str, Verdict]:
    with context.ledger(Step.EVALUATE) as ledger:
        made = [Criterion.model_validate({"min_n": 20, **criterion}) for criterion in criteria]
        return {each.id: record_criterion(ledger, each, answer(each, evidence)).verdict for each in made}


@pytest.mark.parametrize(
    "code", [{"dim": "0", "grey": "1", "pale": "2"}, {"dim": "4.5", "grey": "-1.0", "pale": "9.0"}]
)
def test_a_leaked_label_is_stopped_by_the_leakage_gate(workshop: Any, tmp_path: Path, code: dict[str, str]) -> None:
    """A column that holds the label under other names, as its number or as text, fails verify before training."""
    column = pl.Series("routing", [code[label] for label in workshop.table["kind"]])
    workshop.table = workshop.table.with_columns(column)
    workshop.plan["data"]["columns"]["routing"] = {"type": "category"}
    workshop.plan["model"]["inputs"]["columns"].append("routing")
    context = workshop.open()
    run_ingest(context, snapshot=tmp_path / "snapshot")
    assert run_verify(context, snapshot=tmp_path / "snapshot", verified=tmp_path / "verified") is Verdict.FAIL
    (record,) = [each for each in read_run(context.run)["verify"] if each.task == "leakage of the label"]
    assert (record.verdict, record.value) == (Verdict.FAIL, {"leaking": ["routing"]})


@pytest.fixture(scope="module")
def digits() -> Examples:
    """The handwritten digits as 8 x 8 grey pictures."""
    found = load_digits()
    pictures = (found.images * 15).astype(np.uint8)[..., None]
    return Examples(list(range(len(pictures))), {"image": pictures}, found.target.astype(np.int64))


def _augmentation(context: RunContext, train: Examples) -> Record:
    with context.ledger(Step.TRAIN) as ledger:
        augmentation_check.record_augmentation(ledger, train, ["light"])
    records = read_run(context.run)["train"]
    (record,) = [each for each in records if each.task == augmentation_check.TASK]
    assert records[-1].verdict is record.verdict  # it stops the step
    return record


def test_the_augmentation_in_use_keeps_the_labels(context: RunContext, digits: Examples) -> None:
    """What training does to pictures costs a model that never saw it little."""
    assert _augmentation(context, digits).verdict is Verdict.PASS


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(lambda image, _generator: image.flip(1), id="upside-down"),
        pytest.param(lambda image, _generator: (image.float() * 0 + 255).to(image.dtype), id="washed-out"),
        pytest.param(lambda image, _generator: image.roll(1, 0), id="another-rows-picture"),
    ],
)
def test_a_broken_augmentation_is_stopped_before_training(
    context: RunContext, digits: Examples, monkeypatch: pytest.MonkeyPatch, fault: Callable[[Any, Any], Any]
) -> None:
    """Pictures that no longer show their label fail `augmentation keeps labels`."""
    monkeypatch.setattr(augmentation, "_light", fault)
    assert _augmentation(context, digits).verdict is Verdict.FAIL


def test_a_model_that_is_better_on_average_and_worse_on_one_slice_is_stopped_by_the_slices_criterion(
    context: RunContext,
) -> None:
    """Against the champion on the same rows the average passes, and the tenth of the rows that got worse fails."""
    labels, generator = np.arange(ROWS) % 3, np.random.default_rng(8)
    night = np.arange(ROWS) % 10 == 0
    wrong = np.where(night, generator.random(ROWS) < 0.35, generator.random(ROWS) < 0.02)
    champion = generator.random(ROWS) >= 0.08
    evidence = Evidence(**{**_evidence(context, _said(labels, wrong, 0.9), labels), "others": {"champion": champion}})
    limit = {"metric": "accuracy", "at_least": -0.03, "relative_to": "champion"}
    found = _verdicts(
        context, evidence, {"id": "no-worse", **limit}, {"id": "no-worse-at-night", **limit, "slice": "light=night"}
    )
    assert found == {"no-worse": Verdict.PASS, "no-worse-at-night": Verdict.FAIL}


def test_an_over_confident_model_is_stopped_by_its_calibration(context: RunContext) -> None:
    """It says 99 % and is right in 85 %: accurate enough, and its probabilities are not worth what they say."""
    labels = np.arange(ROWS) % 3
    wrong = np.random.default_rng(9).random(ROWS) < 0.15
    evidence = Evidence(**_evidence(context, _said(labels, wrong, 0.99), labels))
    found = _verdicts(
        context,
        evidence,
        {"id": "accuracy", "metric": "accuracy", "at_least": 0.8},
        {"id": "calibration", "metric": "calibration_error", "at_most": 0.05},
    )
    assert found == {"accuracy": Verdict.PASS, "calibration": Verdict.FAIL}


def _slow_network(path: Path, classes: int) -> None:
    """Write a network that multiplies large matrices, made of its input, before it answers."""
    weights = np.random.default_rng(0).normal(0, SIDE**-0.5, (SIDE, SIDE)).astype(np.float32)
    constants: dict[str, NDArray[Any]] = {
        "w": weights,
        "one": np.ones((SIDE, SIDE), np.float32),
        "axes": np.array([1, 2, 3], np.int64),
    }
    constants["spread"] = np.linspace(-1, 1, classes, dtype=np.float32)[None]
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["all"], keepdims=0),
        helper.make_node("Mul", ["one", "all"], ["m0"]),
        *(helper.make_node("MatMul", [f"m{step}", "w"], [f"m{step + 1}"]) for step in range(PRODUCTS)),
        helper.make_node("ReduceMean", [f"m{PRODUCTS}"], ["rest"], keepdims=0),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["mean"], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "last"], ["column"]),
        helper.make_node("Mul", ["column", "spread"], ["logits"]),
        helper.make_node("Tanh", ["rest"], ["little"]),
        helper.make_node("Add", ["logits", "little"], ["shifted"]),
        helper.make_node("Softmax", ["shifted"], ["probabilities"], axis=1),
    ]
    constants["last"] = np.array([1], np.int64)
    graph = helper.make_graph(
        nodes,
        "slow",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["rows", 12, 12, 1])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["rows", classes])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)


def _slow_bundle(bundle: Path, spec: BundleSpec) -> BundleSpec:
    """Put the slow network in the bundle's place, golden answers included."""
    (bundle / spec.members[0].file).unlink()
    (bundle / BUNDLE_FILE).unlink()
    _slow_network(bundle / "model.onnx", len(spec.classes))
    with np.load(bundle / "golden.npz", allow_pickle=False) as golden:
        image = golden["image"]
    session = onnxruntime.InferenceSession(bundle / "model.onnx", providers=["CPUExecutionProvider"])
    np.savez(bundle / "golden.npz", image=image, probabilities=session.run(None, {"image": image})[0])
    member = spec.members[0].model_copy(update={"file": "model.onnx"})
    return seal_bundle(bundle, spec.model_copy(update={"engine": "onnx", "members": [member]}))


def test_a_slow_model_is_stopped_by_its_latency_on_the_real_server(
    context: RunContext, made: Any, bars: Any, bundle: Path
) -> None:
    """Its answers are sound and take at least 40 ms on any core; a limit of 10 ms fails on 12 requests."""
    spec = _slow_bundle(bundle, made.spec)
    asked = requests_of(bars.snapshot, [0, 1, 2], spec)
    probe = probe_server(bundle, spec, asked, count=12, feature_repo=None)
    labels = np.arange(ROWS) % 3
    evidence = Evidence(**{**_evidence(context, _said(labels, np.zeros(ROWS, np.bool_), 0.9), labels), "probe": probe})
    found = _verdicts(
        context,
        evidence,
        {"id": "latency", "metric": "latency_p50_ms", "at_most": 10, "min_n": 10},
        {"id": "errors", "metric": "error_rate", "at_most": 0.5, "min_n": 10},
    )
    assert found == {"latency": Verdict.FAIL, "errors": Verdict.PASS}


@pytest.mark.parametrize(
    ("sound", "said", "harm"),
    [
        pytest.param(0, "12 of 12 sound requests were refused (400)", Verdict.UNKNOWN, id="all"),
        pytest.param(2, "4 of 12 sound requests were refused (400)", Verdict.PASS, id="some"),
    ],
)
def test_a_model_whose_server_refuses_sound_requests_proves_nothing_of_its_speed(
    context: RunContext, made: Any, bars: Any, *, sound: int, said: str, harm: Verdict
) -> None:
    """A refusal comes at once and is no failure: taken for an answer, it would pass every limit."""
    asked = [*requests_of(bars.snapshot, range(sound), made.spec), Request(b"taken for no picture", {})]
    probe = probe_server(made.bundle, made.spec, asked, count=12, feature_repo=None)
    labels = np.arange(ROWS) % 3
    evidence = Evidence(**{**_evidence(context, _said(labels, np.zeros(ROWS, np.bool_), 0.9), labels), "probe": probe})
    limits = {"latency_p50_ms": 60_000, "error_rate": 0.9}
    for metric, limit in limits.items():
        criterion = Criterion.model_validate({"id": "c", "metric": metric, "at_most": limit, "min_n": 1})
        with context.ledger(Step.EVALUATE) as ledger:
            found = record_criterion(ledger, criterion, answer(criterion, evidence))
        assert (found.verdict, found.value) == (Verdict.UNKNOWN, said), metric
    with context.ledger(Step.EVALUATE) as ledger:
        record_wrong_requests(ledger, probe)
        assert ledger.verdict is harm
