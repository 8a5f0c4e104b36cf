"""Training: repeatable, checked before it is trusted, and no larger than it needs to be."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from tests.components.trained import PLAN, Data, Made, OpenRun

from sextant_components.modelling.checkpoints import Epoch
from sextant_components.modelling.epochs import optimiser_and_schedule
from sextant_components.modelling.explanation import integrated_gradients
from sextant_components.modelling.sanity import loss_fell, overfit_one_batch
from sextant_components.modelling.teams import current_team
from sextant_components.modelling.tensors import Examples
from sextant_components.modelling.train import run_train
from sextant_components.modelling.training import Fitted, Settings, Shape, fit, new_network, predict, repeatable
from sextant_components.modelling.tuning import Found, choose, search
from sextant_plan.bundle import Column
from sextant_plan.canonical import digest_of_file
from sextant_plan.ledger import read_run
from sextant_plan.schema import Candidate, ImageInput, Model, Training
from sextant_plan.verdicts import Verdict

SHAPE = Shape(None, [Column(name="x"), Column(name="y")], ["a", "b"])
SETTINGS = Settings("mlp", {"hidden": 8, "layers": 1}, 1e-2, 1e-4, 4, 16, seed=0)


def _examples(rows: int, *, constant: bool = False) -> Examples:
    generator = np.random.default_rng(rows)
    features = np.zeros((rows, 2)) if constant else generator.normal(size=(rows, 2))
    labels = (generator.normal(size=rows) > 0) if constant else features[:, 0] * 2 > features[:, 1]
    return Examples(list(range(rows)), {"features": features.astype(np.float32)}, labels.astype(np.int64))


def _weights(fitted: Fitted) -> list[bytes]:
    return [tensor.numpy().tobytes() for tensor in fitted.network.state_dict().values()]  # type: ignore[union-attr]


def test_the_same_seed_gives_the_same_weights_and_another_seed_does_not() -> None:
    """Bit for bit, so that a run can be repeated as evidence."""
    train, valid = _examples(100), _examples(40)
    first, again = (fit(SETTINGS, SHAPE, train, valid) for _ in range(2))
    other = fit(replace(SETTINGS, seed=1), SHAPE, train, valid)
    assert _weights(first) == _weights(again)
    assert _weights(first) != _weights(other)


def test_the_best_epoch_is_kept() -> None:
    """The network that is returned gives the accuracy that is reported, the highest of all epochs."""
    train, valid = _examples(100), _examples(40)
    fitted = fit(SETTINGS, SHAPE, train, valid)
    assert fitted.score == max(epoch.valid_score for epoch in fitted.history)
    assert fitted.score == (fitted.outputs.argmax(axis=1) == valid.labels).mean()


def test_a_batch_that_can_be_learned_is_learned_by_heart() -> None:
    """A sound network reaches every row of one batch."""
    assert overfit_one_batch(SETTINGS, SHAPE, _examples(100)) == 1.0


def test_labels_that_inputs_do_not_determine_are_found() -> None:
    """Rows that all look alike cannot be learned by heart: the check sees broken inputs."""
    assert overfit_one_batch(SETTINGS, SHAPE, _examples(100, constant=True)) < 0.9


@pytest.mark.parametrize(
    ("losses", "verdict"),
    [
        pytest.param([1.0, 0.5], Verdict.PASS, id="falls"),
        pytest.param([1.0, 0.99], Verdict.FAIL, id="stands"),
        pytest.param([1.0], Verdict.UNKNOWN, id="one-epoch"),
    ],
)
def test_the_loss_has_to_fall(losses: list[float], verdict: Verdict) -> None:
    """Less than a tenth is no learning, and one epoch shows nothing."""
    history = [Epoch(train_loss=loss, valid_loss=loss, valid_score=0.5) for loss in losses]
    assert loss_fell(history) is verdict


def _model(trials: int, *, epochs: int = 4) -> Model:
    return Model.model_validate(
        {
            "task": "tabular-classification",
            "inputs": {"columns": ["x", "y"]},
            "candidates": [Candidate(architecture="mlp", params={"hidden": 32}), Candidate(architecture="linear")],
            "epochs": epochs,
            "batch_size": 16,
            "search": {"trials": trials, "learning_rate": (1e-2, 5e-2)},
        }
    )


def test_the_search_tries_each_candidate_and_repeats() -> None:
    """The first trials are one of each candidate; the same rows give the same trials."""
    train, valid = _examples(100), _examples(60)
    first, again = (search(_model(3), SHAPE, train, valid) for _ in range(2))
    assert [trial.candidate for trial in first.trials[:2]] == ["mlp", "linear"]
    assert first.trials == again.trials
    assert len(first.trials) == 3


def test_a_larger_network_has_to_earn_its_size() -> None:
    """Where a line separates the classes the linear candidate is chosen, whichever was luckier."""
    train, valid = _examples(400), _examples(100)
    found = search(_model(2, epochs=15), SHAPE, train, valid)
    assert choose(found, valid, 0.95)[0] == "linear"


def test_a_gain_that_is_proved_is_taken() -> None:
    """Where the larger network is right on rows that the smaller one misses, it is chosen."""
    train, valid = _examples(100), _examples(100)
    found = search(_model(2), SHAPE, train, valid)
    missed = replace(found.best["linear"], outputs=1 - found.best["linear"].outputs, score=0.0)
    assert choose(Found(found.trials, {**found.best, "linear": missed}), valid, 0.95)[0] == "mlp"


def test_a_training_that_is_repeated_gives_the_same_files(
    made: Made, bars: Data, tmp_path: Path, home: Path, open_run_at: OpenRun
) -> None:
    """Same plan, data and seeds in another home: every file of the model has its old digest."""
    context = open_run_at(tmp_path / "again", home=home)
    run_train(context, snapshot=bars.snapshot, splits=bars.splits, model=tmp_path / "model")
    files = [digest_of_folder(folder) for folder in (made.model, tmp_path / "model")]
    assert any(name.endswith(".safetensors") for name in files[0])
    assert files[0] == files[1]


def digest_of_folder(folder: Path) -> dict[str, str]:
    return {str(f.relative_to(folder)): digest_of_file(f) for f in sorted(folder.rglob("*")) if f.is_file()}


PICTURES = Shape(ImageInput(height=16, width=16, channels=3), [], ["dark", "light"])


def _pictures(rows: int) -> Examples:
    """Return pictures of noise that is dark or light by their label; one of four is light."""
    labels = (np.arange(rows) % 4 == 0).astype(np.int64)
    noise = np.random.default_rng(rows).integers(0, 120, (rows, 16, 16, 3))
    return Examples(list(range(rows)), {"image": (noise + 100 * labels[:, None, None, None]).astype(np.uint8)}, labels)


@pytest.mark.parametrize(
    "training",
    [
        pytest.param({"precision": "bfloat16"}, id="bfloat16"),
        pytest.param({"channels_last": True}, id="channels-last"),
        pytest.param({"class_weights": "balanced"}, id="class-weights"),
        pytest.param({"deterministic": False}, id="not-deterministic"),
    ],
)
def test_every_way_of_training_learns(training: dict[str, Any]) -> None:
    """The classes are told apart, and the network that comes back answers as its best epoch did."""
    settings = Settings("small-cnn", {"width": 4}, 1e-2, 1e-4, 6, 16, seed=0)
    valid = _pictures(60)
    fitted = fit(replace(settings, training=Training.model_validate(training)), PICTURES, _pictures(160), valid)
    assert fitted.score > 0.9
    np.testing.assert_allclose(predict(fitted.network, valid.inputs), fitted.outputs, atol=2e-2)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"training": Training(precision="bfloat16")}, id="bfloat16"),
        pytest.param({"training": Training(clip_norm=1e-3)}, id="clip-norm"),
        pytest.param({"training": Training(schedule="cosine")}, id="cosine"),
        pytest.param({"training": Training(schedule="constant")}, id="constant"),
        pytest.param({"augment": ()}, id="without-augmentation"),
    ],
)
def test_what_the_plan_says_of_training_is_done(changes: dict[str, Any]) -> None:
    """Each way leaves other weights than the usual one: none is read and forgotten."""
    settings = Settings("small-cnn", {"width": 4}, 1e-2, 1e-4, 1, 16, seed=0)
    train, valid = _pictures(64), _pictures(16)
    usual = fit(settings, PICTURES, train, valid)
    shape = replace(PICTURES, augment=changes.get("augment", PICTURES.augment))
    other = fit(replace(settings, training=changes.get("training", Training())), shape, train, valid)
    assert _weights(usual) != _weights(other)


def test_a_fit_with_channels_last_lays_its_kernels_out_so() -> None:
    """The kernels' channels lie next to each other in memory, which is what the option is for."""
    settings = Settings("small-cnn", {"width": 4}, 1e-2, 1e-4, 1, 16, seed=0, training=Training(channels_last=True))
    for each, laid_out in ((settings, True), (replace(settings, training=Training()), False)):
        network: Any = fit(each, PICTURES, _pictures(32), _pictures(16)).network
        kernels = [kernel for kernel in network.parameters() if kernel.dim() == 4 and kernel.shape[1] > 1]
        assert kernels
        assert all(kernel.is_contiguous(memory_format=torch.channels_last) == laid_out for kernel in kernels)


def test_a_clipped_gradient_moves_nothing() -> None:
    """Far below AdamW's own epsilon a step is nothing, and the loss of a batch stays what it was."""
    train, valid = _examples(64), _examples(32)
    settings = replace(SETTINGS, weight_decay=0.0, training=Training(clip_norm=1e-14))
    losses = [epoch.valid_loss for epoch in fit(settings, SHAPE, train, valid).history]
    assert max(losses) - min(losses) < 1e-4
    free = [epoch.valid_loss for epoch in fit(replace(settings, training=Training()), SHAPE, train, valid).history]
    assert free[0] - free[-1] > 0.01


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one-cycle"])
def test_the_rate_follows_its_schedule(schedule: str) -> None:
    """It stands still, or rises to the plan's rate over the first part of the steps and falls to nearly nothing."""
    training = Training.model_validate({"schedule": schedule})
    settings = replace(SETTINGS, epochs=10, training=training)
    network = new_network(settings, SHAPE, _examples(160))
    optimiser, scheduler = optimiser_and_schedule(network, settings, 160, current_team())
    rates = []
    for _ in range(100):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    assert max(rates) == pytest.approx(1e-2, rel=1e-3)
    if schedule == "constant":
        assert set(rates) == {1e-2}
    else:
        peak = rates.index(max(rates))
        assert peak == pytest.approx(10 if schedule == "cosine" else 30, abs=2)
        assert rates[:peak] == sorted(rates[:peak])
        assert rates[peak:] == sorted(rates[peak:], reverse=True)
        assert rates[-1] < 1e-4


def test_a_fit_ends_when_so_many_epochs_brought_nothing_better() -> None:
    """On labels that nothing explains the best comes early; two epochs later there is no more to wait for."""
    train, valid = _examples(64, constant=True), _examples(32, constant=True)
    settings = replace(SETTINGS, epochs=40, training=Training(patience=2))
    history = fit(settings, SHAPE, train, valid).history
    ranks = [(epoch.valid_score, -epoch.valid_loss) for epoch in history]
    assert len(history) < 40
    assert ranks.index(max(ranks)) == len(history) - 3


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_deterministic_fit_allows_torch_nothing_else(deterministic: bool) -> None:
    """One thread and deterministic kernels while it lasts, and torch as it was afterwards."""
    before = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    torch.set_num_threads(2)
    with repeatable(0, Training(deterministic=deterministic)):
        state = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    after = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    torch.set_num_threads(before[1])
    assert state == ((True, 1) if deterministic else (before[0], 2))
    assert after == (before[0], 2)


def test_a_training_that_shows_nothing_says_so(bars: Data, tmp_path: Path, home: Path, open_run_at: OpenRun) -> None:
    """Pictures that are all the same, one epoch, one trial, one seed: each check says so by itself, and none passes."""
    snapshot = shutil.copytree(bars.snapshot, tmp_path / "snapshot")
    pictures = pl.read_parquet(snapshot / "images.parquet")
    pictures.with_columns(data=pl.lit(pictures["data"][0])).write_parquet(snapshot / "images.parquet")
    model = {**PLAN["model"], "epochs": 1, "seeds": 1, "search": {"trials": 1}}
    context = open_run_at(tmp_path / "run", home=home, model=model)
    assert run_train(context, snapshot=snapshot, splits=bars.splits, model=tmp_path / "model") is Verdict.FAIL
    records = {record.task: record for record in read_run(context.run)["train"]}
    verdicts = {task: record.verdict for task, record in records.items()}
    assert {verdicts[f"overfit one batch: {name}"] for name in ("mlp", "small-cnn")} == {Verdict.FAIL}
    for task in ("loss falls", "search", "tuning", "seeds", "augmentation keeps labels"):
        assert verdicts[task] is Verdict.UNKNOWN, task
    assert verdicts["beats baseline on validation rows"] is not Verdict.PASS
    assert dict(records["search"].value)["not_tried"] == ["mlp"]


def test_balanced_weights_favour_the_rare_class() -> None:
    """On labels that nothing explains, weights pull the answer from the frequent class towards even."""
    rare = replace(_examples(200, constant=True), labels=(np.arange(200) % 10 == 0).astype(np.int64))
    plain, balanced = (
        fit(replace(SETTINGS, training=Training(class_weights=weights)), SHAPE, rare, rare).outputs[:, 1].mean()
        for weights in ("none", "balanced")
    )
    assert balanced > plain + 0.1


def test_a_transformer_trains() -> None:
    """A small one from scratch, in one epoch, with a loss that is a number and answers that are probabilities."""
    settings = Settings("vit", {"side": 16, "layers": 1, "width": 32}, 1e-3, 1e-4, 2, 16, seed=0)
    fitted = fit(settings, PICTURES, _pictures(48), _pictures(24))
    assert fitted.history[-1].train_loss < fitted.history[0].train_loss
    np.testing.assert_allclose(fitted.outputs.sum(axis=1), 1.0, atol=1e-5)


def test_the_wait_for_input_is_a_share_of_the_time() -> None:
    """Every row that was fitted is counted, and waiting is part of the time that it took."""
    effort = fit(SETTINGS, SHAPE, _examples(96), _examples(40)).effort
    assert effort is not None
    assert effort.rows == 96 * SETTINGS.epochs
    assert 0 < effort.wait < 1


def test_integrated_gradients_name_the_column_that_decides() -> None:
    """They add up to what a row changes of the answer against the mean row; the deciding column has most of it."""
    generator = np.random.default_rng(0)
    features = generator.normal(size=(200, 2)).astype(np.float32)
    rows = Examples(list(range(200)), {"features": features}, (features[:, 0] > 0).astype(np.int64))
    network: Any = fit(replace(SETTINGS, epochs=8), SHAPE, rows, rows).network
    found = integrated_gradients(network, {"features": features[:40]}, name="features")
    assert found.shape == (40, 2)
    assert np.abs(found[:, 0]).mean() > 3 * np.abs(found[:, 1]).mean()
    here, mean = (
        predict(network, {"features": each}) for each in (features[:40], np.tile(network.feature_mean.numpy(), (40, 1)))
    )
    chosen = here.argmax(axis=1)
    change = (here - mean)[np.arange(40), chosen]
    np.testing.assert_allclose(found.sum(axis=1), change, atol=0.02)
