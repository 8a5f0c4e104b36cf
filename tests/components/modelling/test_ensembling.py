"""Several fits answer together only where that is proved better, and where the plan leaves the time for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.components.trained import PLAN, Data

from sextant_components.modelling.ensembling import keep_members, together
from sextant_components.modelling.model_file import load_members, read_model, write_model
from sextant_components.modelling.objectives import Classes
from sextant_components.modelling.optimise import run_optimise
from sextant_components.modelling.train import read_inputs
from sextant_components.modelling.training import Fitted, Settings, fit, predict
from sextant_components.runs.context import Step
from sextant_plan.bundle import read_bundle
from sextant_plan.ledger import read_run
from sextant_plan.schema import Ensemble
from sextant_serving.architectures import build
from sextant_serving.engines import check_golden, load_engine

Open = Callable[..., Any]


def _outputs(labels: NDArray[np.int64], wrong: slice) -> NDArray[np.float32]:
    """Return sure and right probabilities of three classes, but for some rows that are barely wrong."""
    shares = np.full((len(labels), 3), 0.05, np.float32)
    shares[np.arange(len(labels)), labels] = 0.9
    shares[wrong] = 0.3
    shares[np.arange(len(labels))[wrong], (labels[wrong] + 1) % 3] = 0.4
    return shares


@pytest.fixture
def pair(bars: Data, open_run_at: Open, home: Path, tmp_path: Path) -> tuple[Any, list[Fitted], Any]:
    """A run, two fits of one setting, and the validation rows."""
    context = open_run_at(tmp_path / "run", home=home)
    shape, train, valid = read_inputs(context, bars.snapshot, bars.splits)
    settings = Settings("mlp", {"hidden": 16, "layers": 1}, 1e-2, 1e-4, 3, 16, seed=0)
    return context, [fit(replace(settings, seed=seed), shape, train, valid) for seed in (0, 1)], valid


@pytest.mark.parametrize(
    ("wrong", "keep", "kept"),
    [
        pytest.param((slice(0, 12), slice(20, 32)), "if-proved", 2, id="errors-apart"),
        pytest.param((slice(0, 12), slice(0, 12)), "if-proved", 1, id="the-same-errors"),
        pytest.param((slice(0, 12), slice(1, 13)), "if-proved", 1, id="one-row-better"),
        pytest.param((slice(0, 12), slice(20, 32)), "never", 1, id="not-wanted"),
    ],
)
def test_fits_answer_together_where_that_is_proved_better(
    pair: Any, wrong: tuple[slice, slice], keep: str, kept: int
) -> None:
    """Two fits that err on different rows correct each other; two that err on the same ones do not."""
    context, fits, valid = pair
    fits = [replace(fitted, outputs=_outputs(valid.labels, rows)) for fitted, rows in zip(fits, wrong, strict=True)]
    wanted = Ensemble.model_validate({"keep": keep})
    with context.ledger(Step.TRAIN) as ledger:
        members = keep_members(ledger, wanted, Classes(), fits, best=fits[1], valid=valid)
    assert len(members) == kept
    assert members[0] is fits[1]
    records = {record.task: record for record in read_run(context.run)["train"]}
    assert ("ensemble" in records) == (keep != "never")
    if keep != "never":
        interval = records["ensemble"].interval
        assert interval is not None
        assert interval[0] is not None
        assert (interval[0] > 0) == (kept == 2)


def _optimised(pair: Any, bars: Data, bundle: Path, *, share: float, open_run_at: Open, home: Path) -> Any:
    """Write both fits as one model and return its bundle under a plan that leaves this share of a minute."""
    context, fits, _ = pair
    shape, _, _ = read_inputs(context, bars.snapshot, bars.splits)
    write_model(bundle.parent / "model", fits, shape, [], [])
    plan = {
        "model": {**PLAN["model"], "ensemble": {"latency_share": share}},
        "serving": {**PLAN["serving"], "latency_slo_ms": 60000},
    }
    other = open_run_at(bundle.parent / f"at-{share}", home=home, **plan)
    run_optimise(other, snapshot=bars.snapshot, splits=bars.splits, model=bundle.parent / "model", bundle=bundle)
    return {record.task: record for record in read_run(other.run)["optimise"]}


def test_a_bundle_of_two_members_answers_with_their_mean(
    pair: Any, bars: Data, open_run_at: Open, home: Path, tmp_path: Path
) -> None:
    """Engine, golden requests and the network that gradients are taken of all agree."""
    records = _optimised(pair, bars, tmp_path / "bundle", share=1.0, open_run_at=open_run_at, home=home)
    _, fits, valid = pair
    spec = read_bundle(tmp_path / "bundle")
    engine = load_engine(tmp_path / "bundle", spec)
    mean = np.mean([fitted.outputs for fitted in fits], axis=0)
    np.testing.assert_allclose(engine.run(valid.inputs), mean, atol=1e-5)
    check_golden(engine, tmp_path / "bundle", spec)
    members: list[Any] = list(load_members(tmp_path / "model", read_model(tmp_path / "model")))
    np.testing.assert_allclose(predict(together(members), valid.inputs), mean, atol=1e-5)
    assert records["ensemble latency"].value == {"members": 2}


def test_an_ensemble_that_the_plan_has_no_time_for_is_served_by_its_best_member(
    pair: Any, bars: Data, open_run_at: Open, home: Path, tmp_path: Path
) -> None:
    """With no time left the first member is sealed alone, and the record says so."""
    records = _optimised(pair, bars, tmp_path / "bundle", share=1e-9, open_run_at=open_run_at, home=home)
    _, fits, valid = pair
    spec = read_bundle(tmp_path / "bundle")
    assert len(spec.members) == 1
    np.testing.assert_allclose(load_engine(tmp_path / "bundle", spec).run(valid.inputs), fits[0].outputs, atol=1e-5)
    assert records["ensemble latency"].value == {"members": 1}


def test_numbers_are_averaged_in_the_labels_unit() -> None:
    """Two networks for a number answer together with the mean of their numbers."""
    members = [build("mlp", {"hidden": 4}, image=None, columns=2, classes=0) for _ in range(2)]
    for member in members:
        member.fit_target(100.0, 20.0)
    inputs = {"features": np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)}
    mean = np.mean([predict(member, inputs) for member in members], axis=0)
    np.testing.assert_allclose(predict(together(members), inputs), mean, rtol=1e-5)
