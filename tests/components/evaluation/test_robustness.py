"""Worse inputs, inputs of no class, attacks and wrong requests: what is measured is what is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from tests.components.trained import Made

from sextant_components.data.tables import read_split
from sextant_components.evaluation.attacks import fgsm, pgd
from sextant_components.evaluation.corruptions import SEVERITIES, corrupt, kinds
from sextant_components.evaluation.evaluate import run_evaluate
from sextant_components.evaluation.evaluation_records import record_baseline, record_explanation, record_served_parity
from sextant_components.evaluation.evaluation_studies import attack_rows, record_strangers, record_wrong_requests
from sextant_components.evaluation.robustness import auroc, stranger_areas, strangers
from sextant_components.evaluation.server_probe import Probe
from sextant_components.evaluation.wrong_inputs import Refusal
from sextant_components.evidence.gates import Settled, unavailable
from sextant_components.modelling import train
from sextant_components.modelling.explanation import random_network
from sextant_components.modelling.model_file import load_members, read_model
from sextant_components.modelling.objectives import Classes
from sextant_components.modelling.tensors import Examples, load_examples
from sextant_components.modelling.training import predict
from sextant_components.runs.context import Step
from sextant_plan.ledger import LedgerWriter, Origin, Record, read_run
from sextant_plan.schema import Attack, CorruptionName, Explanation
from sextant_plan.verdicts import Verdict
from sextant_serving.architectures import Network
from sextant_serving.architectures.gradient_boosting import Trees


def _pictures(channels: int) -> Any:
    return np.random.default_rng(2).integers(40, 216, (6, 24, 32, channels), dtype=np.uint8)


IMAGENET_C = {
    "noise", "shot", "impulse", "defocus", "glass", "motion", "zoom", "snow", "frost", "fog", "bright", "contrast",
    "elastic", "pixelate", "jpeg", "speckle", "blur", "spatter", "saturate",
}  # fmt: skip


def test_a_plan_may_name_every_corruption_of_imagenet_c_and_nothing_that_is_not_there() -> None:
    """Fifteen kinds and four further ones, beside two of ours; the schema knows them all."""
    assert set(kinds()) == IMAGENET_C | {"dark", "occlusion"} == set(get_args(CorruptionName))


@pytest.mark.parametrize("seed", [0, 3])
@pytest.mark.parametrize("kind", ["snow", "frost", "spatter", "glass", "elastic", "speckle", "fog"])
def test_a_seed_draws_other_weather_for_each_row(kind: str, seed: int) -> None:
    """The same picture twice is not corrupted alike, and another seed corrupts it otherwise."""
    pictures = np.repeat(_pictures(3)[:1], 2, axis=0)
    one, other = corrupt(pictures, kind, seed=seed)
    assert not np.array_equal(one, other)
    assert not np.array_equal(one, corrupt(pictures, kind, seed=seed + 1)[0])


def test_a_zoom_keeps_the_middle_and_a_flat_picture() -> None:
    """What has no edges cannot be smeared, and the point that the lens looks at stays where it is."""
    flat = np.full((1, 25, 25, 3), 90, np.uint8)
    assert np.array_equal(corrupt(flat, "zoom", severity=5), flat)
    point = np.zeros((1, 25, 25, 1), np.uint8)
    point[0, 12, 12] = 255
    zoomed = corrupt(point, "zoom", severity=5)
    assert zoomed[0, 12, 12, 0] == zoomed.max() > 0


KINDS_AND_CHANNELS = [
    (kind, channels) for kind in kinds() for channels in (1, 3) if (kind, channels) != ("saturate", 1)
]


@pytest.mark.parametrize(("kind", "channels"), KINDS_AND_CHANNELS)
def test_every_corruption_keeps_the_shape_and_hurts_more_with_severity(kind: str, channels: int) -> None:
    """Pixels move further from the original from the first severity to the last, and the seed fixes them."""
    pictures = _pictures(channels)
    changed = [corrupt(pictures, kind, severity=severity) for severity in SEVERITIES]
    assert {(one.shape, one.dtype) for one in changed} == {(pictures.shape, pictures.dtype)}
    distances = [float(np.abs(one.astype(int) - pictures).mean()) for one in changed]
    assert 0 < distances[0] < distances[-1]
    assert np.array_equal(changed[2], corrupt(pictures, kind))


def test_the_area_is_scikit_learns_and_its_bounds_have_a_width_at_the_edge() -> None:
    """Where every row scores above every stranger the lower bound is still below one."""
    generator = np.random.default_rng(4)
    inside, outside = generator.normal(1.0, 1.0, 80), generator.normal(0.0, 1.0, 60)
    found = auroc(inside, outside, 0.95)
    scores, is_inside = np.concatenate([inside, outside]), [1] * 80 + [0] * 60
    assert found.value == pytest.approx(roc_auc_score(is_inside, scores))
    assert found.low < found.value < found.high
    ties = auroc(inside.round(), outside.round(), 0.95)
    assert ties.value == pytest.approx(roc_auc_score(is_inside, scores.round()))
    edge = auroc(inside + 100, outside, 0.95)
    assert (edge.value, edge.high) == (1.0, 1.0)
    assert 0.9 < edge.low < 1.0


def test_the_area_counts_rows_of_a_group_as_one() -> None:
    """Twenty groups of four alike rows, with the strangers made of them, have the bounds of twenty rows."""
    generator = np.random.default_rng(6)
    inside, outside = generator.normal(1.0, 1.0, 20), generator.normal(0.0, 1.0, 20)
    found = auroc(np.repeat(inside, 4), np.repeat(outside, 4), 0.95, np.repeat(np.arange(20), 4))
    expected = auroc(inside, outside, 0.95)
    assert (found.value, found.low, found.high, found.n) == pytest.approx(
        (expected.value, expected.low, expected.high, 20)
    )


def test_strangers_are_as_many_as_the_rows_and_none_of_them(bars: Any) -> None:
    """Every kind changes every picture; a table alone gets numbers outside its range."""
    pictures = _pictures(3)
    for made in strangers({"image": pictures}).values():
        assert made["image"].shape == pictures.shape
        assert (made["image"] != pictures).any(axis=(1, 2, 3)).all()
    features = np.random.default_rng(1).normal(size=(50, 3)).astype(np.float32)
    (far,) = strangers({"features": features}).values()
    outside = (far["features"] < features.min(axis=0)) | (far["features"] > features.max(axis=0))
    assert outside.all()


@pytest.fixture
def sealed(made: Any, bars: Any) -> Examples:
    """The sealed rows as tensors."""
    return load_examples(bars.snapshot, read_split(bars.splits, "sealed"), image=made.spec.image, columns=[])


def test_an_attack_keeps_its_bounds_and_finds_more_errors_than_noise(made: Any, sealed: Examples) -> None:
    """The change is at most what is allowed, and chosen changes cost more than random ones of the same size."""
    network = load_members(made.model, read_model(made.model))[0]
    attack = Attack(pixels=24, steps=10)
    by_method = {"fgsm": fgsm(network, sealed, attack), "pgd": pgd(network, sealed, attack)}  # type: ignore[arg-type]
    original = sealed.inputs["image"].astype(int)
    for inputs in by_method.values():
        assert inputs["image"].dtype == np.uint8
        assert np.abs(inputs["image"].astype(int) - original).max() <= 24
    noise = original + 24 * np.random.default_rng(0).choice([-1, 1], original.shape)
    by_method["noise"] = {"image": np.clip(noise, 0, 255).astype(np.uint8)}
    accuracy = {name: Classes().score(predict(network, inputs), sealed.labels) for name, inputs in by_method.items()}
    assert accuracy["pgd"] <= accuracy["fgsm"] < accuracy["noise"]


def test_an_evaluation_records_its_studies(made: Any, bars: Any, home: Path, open_run_at: Any, tmp_path: Path) -> None:
    """Severities, attack, strangers, wrong requests, cold start and slices are on record; gradients explain."""
    criteria = [
        {"id": "attacked", "metric": "attacked_accuracy", "at_least": 0.0, "min_n": 20},
        {"id": "strangers", "metric": "stranger_auroc", "at_least": 0.01, "min_n": 20},
        {"id": "corruptions", "metric": "corrupted_accuracy", "at_least": 0.1, "min_n": 50},
    ]
    evaluation = {
        "slices": ["light"],
        "corruptions": ["dark", "jpeg"],
        "attack": {"rows": 30, "pixels": 8},
        "explanation": {"method": "integrated-gradients", "budget": "60s"},
        "latency_requests": 20,
    }
    context = open_run_at(tmp_path / "r1", home=home, criteria=criteria, evaluation=evaluation)
    run_evaluate(context, snapshot=bars.snapshot, splits=bars.splits, bundle=made.bundle, model=made.model)
    records: dict[str, Record] = {record.task: record for record in read_run(context.run)["evaluate"]}
    for task in ("fuzz: wrong requests", "criterion strangers", "criterion corruptions", "explanation"):
        assert records[task].verdict is Verdict.PASS, records[task]
    assert records["criterion attacked"].n == 30
    tables = {name: digest for record in records.values() for name, digest in record.artifacts.items()}
    assert context.artifacts.read_bytes(tables["corruptions.json"]).count(b'"severity"') == 2 * len(SEVERITIES)
    assert {"attack.json", "strangers.json", "cold_start.json", "found_slices.json", "explanation.png"} <= set(tables)
    cold = json.loads(context.artifacts.read_bytes(tables["cold_start.json"]))
    assert [row["name"] for row in cold] == ["process start to ready, s", "first answer, ms"]
    assert all(row["value"] > 0 for row in cold)


@pytest.fixture
def explained(made: Made, sealed: Examples, open_run_at: Any, home: Path, tmp_path: Path) -> Callable[..., Record]:
    """Return a function that records the explanation of a network's answers, and returns the record."""

    def record(network: Network, *, budget: float) -> Record:
        context = open_run_at(tmp_path / f"r{budget:g}", home=home)
        wanted = Explanation(method="integrated-gradients", budget=budget)
        rows = sealed.take(range(12))
        with context.ledger(Step.EVALUATE) as ledger:
            record_explanation(
                ledger, wanted, made.spec, lambda inputs: predict(network, inputs), rows, network=network
            )
        found: Record = read_run(context.run)[Step.EVALUATE][0]
        return found

    return record


def test_an_explanation_that_random_weights_would_give_fails(made: Made, explained: Callable[..., Record]) -> None:
    """The sanity check of Adebayo et al. (2018): Captum's answer has to hang on what was learned."""
    found = explained(random_network(made.spec), budget=3600.0)
    assert found.verdict is Verdict.FAIL
    assert found.value == "within the budget; likeness to random weights 1.00"


def test_an_explanation_that_comes_too_late_fails(made: Made, explained: Callable[..., Record]) -> None:
    """What users are promised includes how long it takes."""
    network = load_members(made.model, read_model(made.model))[0]
    assert not isinstance(network, Trees)
    assert explained(network, budget=3600.0).verdict is Verdict.PASS
    assert explained(network, budget=1e-6).value.startswith("over the budget; ")


def test_the_stronger_attack_is_the_one_that_is_judged(made: Made, sealed: Examples) -> None:
    """Projected gradient descent finds errors that plain rows have not; without gradients it is unknown, and why."""
    network = load_members(made.model, read_model(made.model))[0]
    assert not isinstance(network, Trees)

    def run(inputs: Any) -> Any:
        return predict(network, inputs)

    found = attack_rows(run, network, sealed, Attack(pixels=24, rows=60))
    assert not isinstance(found.right, Settled)
    assert found.right.tolist() == found.by_method["pgd"].tolist()
    assert found.right.mean() < found.by_method["none"].mean()
    missing = unavailable("the trained network was not handed over")
    assert attack_rows(run, missing, sealed, Attack()).right == missing


@pytest.fixture
def recorded(open_run_at: Any, home: Path, tmp_path: Path) -> Callable[..., tuple[Record, Verdict]]:
    """Return a function that lets something record once, and returns the record and the step's verdict."""

    def run(record: Callable[[LedgerWriter], None]) -> tuple[Record, Verdict]:
        context = open_run_at(tmp_path / "r1", home=home)
        with context.ledger(Step.EVALUATE) as ledger:
            record(ledger)
        found, end = read_run(context.run)[Step.EVALUATE]
        return found, end.verdict

    return run


@pytest.mark.parametrize(
    ("shift", "verdict"),
    [pytest.param(2.0, Verdict.PASS, id="told"), pytest.param(0.0, Verdict.UNKNOWN, id="not-told")],
)
def test_strangers_that_are_not_proved_to_be_told_apart_are_unknown(
    recorded: Any, shift: float, verdict: Verdict
) -> None:
    """The worst kind decides, however well another is told."""
    generator = np.random.default_rng(5)
    made = {"far": generator.normal(-9, 1, 80), "near": generator.normal(0, 1, 80)}
    areas = stranger_areas(generator.normal(shift, 1, 80), made, 0.95)
    found, _ = recorded(lambda ledger: record_strangers(ledger, areas, 0.5))
    assert found.verdict is verdict
    assert found.value["worst"] == "near"


@pytest.mark.parametrize(
    ("right", "verdict", "on_the_rows_that_chose_it"),
    [
        pytest.param(0.9, Verdict.PASS, None, id="better"),
        pytest.param(0.5, Verdict.UNKNOWN, Verdict.UNKNOWN, id="as-good"),
        pytest.param(0.1, Verdict.FAIL, Verdict.FAIL, id="worse"),
    ],
)
def test_that_the_baseline_is_beaten_counts_on_rows_that_chose_nothing(
    recorded: Any, tmp_path: Path, *, right: float, verdict: Verdict, on_the_rows_that_chose_it: Verdict | None
) -> None:
    """Whoever chose the best of many on the validation rows has beaten any rule there; not to have done so counts."""
    rows, objective = np.arange(100), Classes()
    gain = objective.gain(rows < 100 * right, rows % 2 == 0, 0.95)
    sealed, step = recorded(lambda ledger: record_baseline(ledger, objective, gain, {"kind": "majority"}))
    assert (sealed.verdict, step) == (verdict, verdict)
    origin = Origin("r", "sha256:" + "0" * 64, "c", "i")
    with LedgerWriter(tmp_path / "train", "train", "model engineering", origin) as ledger:
        train._record_baseline(ledger, objective, (gain, {"kind": "majority"}))
        assert ledger.verdicts == ([on_the_rows_that_chose_it] if on_the_rows_that_chose_it else [])


@pytest.mark.parametrize(
    ("status", "unharmed", "verdict"),
    [
        pytest.param(400, True, Verdict.PASS, id="refused"),
        pytest.param(500, True, Verdict.FAIL, id="taken-for-the-servers-fault"),
        pytest.param(200, True, Verdict.FAIL, id="answered"),
        pytest.param(400, False, Verdict.FAIL, id="harmed-the-next"),
        pytest.param(400, None, Verdict.UNKNOWN, id="answers-nothing-at-all"),
        pytest.param(500, None, Verdict.FAIL, id="answers-nothing-and-falls-over"),
    ],
)
def test_a_server_that_falls_over_a_wrong_request_fails(
    recorded: Any, status: int, unharmed: bool | None, verdict: Verdict
) -> None:
    """No plan has to ask for it: the step fails."""
    probe = Probe([1.0], 0, [None], refusals=[Refusal("no JSON", status), Refusal("no rows", 422)], unharmed=unharmed)
    found, step = recorded(lambda ledger: record_wrong_requests(ledger, probe))
    assert (found.verdict, step) == (verdict, verdict)
    assert found.value["not_refused"] == ({} if status == 400 else {"no JSON": status})


@pytest.mark.parametrize(
    ("changed", "stored", "verdicts"),
    [
        pytest.param(0.0, None, (Verdict.PASS, Verdict.PASS), id="the-same"),
        pytest.param(0.1, None, (Verdict.FAIL, Verdict.FAIL), id="another"),
        pytest.param(None, None, (Verdict.UNKNOWN, Verdict.UNKNOWN), id="one-missing"),
        pytest.param(0.1, "features", (Verdict.UNKNOWN, Verdict.PASS), id="stored-features"),
    ],
)
def test_a_server_has_to_answer_as_was_evaluated(
    recorded: Any, made: Made, changed: float | None, stored: str | None, verdicts: tuple[Verdict, Verdict]
) -> None:
    """One row of three that differs fails; where features are stored today's may differ, which only informs."""
    outputs = np.full((3, 3), 1 / 3, np.float32)
    last = None if changed is None else outputs[2] + np.float32(changed)
    probe = Probe([1.0] * 3, 0, [outputs[0], outputs[1], last])
    spec = made.spec.model_copy(update={"feature_service": stored})
    found = recorded(lambda ledger: record_served_parity(ledger, spec, outputs, probe, rows=3))
    assert (found[0].verdict, found[1]) == verdicts
