"""The search: shared by processes, resumed after a break, and able to say which parameters mattered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from tests.components.trained import PLAN, Data

from sextant_components.modelling.studies import Place
from sextant_components.modelling.tensors import Examples
from sextant_components.modelling.train import run_train
from sextant_components.modelling.training import Shape
from sextant_components.modelling.tuning import Found, help_search, search
from sextant_plan.bundle import Column
from sextant_plan.ledger import read_run
from sextant_plan.schema import Model

SHAPE = Shape(None, [Column(name="x"), Column(name="y")], ["a", "b"])
VARIED = {"mlp": {"hidden": {"low": 2, "high": 32}, "dropout": {"choices": [0.0, 0.3]}}}


def _examples(rows: int) -> Examples:
    features = np.random.default_rng(rows).normal(size=(rows, 2)).astype(np.float32)
    return Examples(list(range(rows)), {"features": features}, (features[:, 0] * 2 > features[:, 1]).astype(np.int64))


def _model(trials: int, **search: Any) -> Model:
    return Model.model_validate(
        {
            "task": "tabular-classification",
            "inputs": {"columns": ["x", "y"]},
            "candidates": [{"architecture": "mlp", "params": {"layers": 1}}, {"architecture": "linear"}],
            "epochs": 2,
            "batch_size": 16,
            "search": {"trials": trials, **search},
        }
    )


def _search(model: Model, folder: Path | None = None, **options: Any) -> Found:
    return search(model, SHAPE, _examples(64), _examples(40), checkpoints=folder, **options)


def test_declared_parameters_vary_within_their_spans() -> None:
    """Each trial of the architecture has a value of its own from the plan's span; the first is the middle."""
    found = _search(_model(8, vary=VARIED))
    networks = [trial for trial in found.trials if trial.candidate == "mlp"]
    assert networks[0].params == {"layers": 1, "hidden": 8, "dropout": 0.0}
    assert all(2 <= int(trial.params["hidden"]) <= 32 for trial in networks)
    assert len({trial.params["hidden"] for trial in networks}) > 1
    assert all("hidden" not in trial.params for trial in found.trials if trial.candidate == "linear")


def test_a_parameter_of_which_one_value_was_tried_is_named() -> None:
    """Two trials are one of each candidate, both in the middle of every range."""
    found = _search(_model(2, vary=VARIED))
    assert found.unvaried == ["learning_rate", "mlp.dropout", "mlp.hidden", "weight_decay"]


def test_importances_are_shares_over_enough_trials() -> None:
    """Fewer than eight trials of a candidate say nothing; with more every parameter has its share."""
    assert _search(_model(3, vary=VARIED)).importances == {}
    found = _search(_model(24, vary=VARIED)).importances
    assert found
    for shares in found.values():
        assert sum(shares.values()) == pytest.approx(1.0, abs=1e-4)
    if "mlp" in found:
        assert set(found["mlp"]) == {"learning_rate", "weight_decay", "mlp.hidden", "mlp.dropout"}


def test_a_trial_that_falls_behind_is_stopped_and_is_never_the_best() -> None:
    """Among learning rates of six orders the slow ones are pruned: fewer epochs, and a score of the last of them."""
    model = _model(14, learning_rate=(1e-7, 1e-1)).model_copy(update={"epochs": 6})
    found = _search(model)
    pruned = [trial for trial in found.trials if trial.state == "pruned"]
    whole = [trial for trial in found.trials if trial.state == "complete"]
    assert pruned
    assert all(2 <= trial.epochs < 6 for trial in pruned)  # a third of the epochs is let pass before any is judged
    assert {trial.epochs for trial in whole} == {6}
    best = max(trial.valid_score for trial in whole)
    assert max(trial.valid_score for trial in pruned) <= best
    assert max(fitted.score for fitted in found.best.values()) == best


def test_a_search_counts_what_others_have_tried(tmp_path: Path) -> None:
    """Three trials by a helper are three of the five; the best fits are found whoever has made them."""
    place = Place(str(tmp_path / "study"), "study")
    help_search(
        _model(3), SHAPE, _examples(64), _examples(40), checkpoints=tmp_path, place=Place(place.storage, "study", 1)
    )
    made: list[int] = []
    found = _search(_model(5), tmp_path, place=place, on_trial=lambda trial, _history: made.append(trial.number))
    assert made == [3, 4]
    assert [trial.number for trial in found.trials] == [0, 1, 2, 3, 4]
    for name, fitted in found.best.items():
        complete = [trial for trial in found.trials if trial.candidate == name and trial.state == "complete"]
        assert fitted.score == max(trial.valid_score for trial in complete)


def test_a_search_that_was_broken_off_goes_on(tmp_path: Path) -> None:
    """The trials before the break are counted, and a candidate whose first trial was lost is tried again."""
    place = Place(str(tmp_path / "study"), "study")

    def stop(_trial: Any, _history: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _search(_model(4), tmp_path, place=place, on_trial=stop)
    found = _search(_model(4), tmp_path, place=place)
    assert {trial.candidate for trial in found.trials} == {"mlp", "linear"}
    assert len(found.trials) >= 4
    assert set(found.best) == {"mlp", "linear"}


def test_processes_of_one_machine_share_the_search(
    bars: Data, open_run_at: Callable[..., Any], home: Path, tmp_path: Path
) -> None:
    """Two processes make the plan's trials together; helpers are gone and nothing is left when the step ends."""
    model = {**PLAN["model"], "search": {**PLAN["model"]["search"], "trials": 4, "processes": 2}, "epochs": 2}
    context = open_run_at(tmp_path / "run", home=home, model=model)
    run_train(context, snapshot=bars.snapshot, splits=bars.splits, model=tmp_path / "model")
    records = {record.task: record for record in read_run(context.run)["train"]}
    value: Any = records["search"].value
    assert value["trials"] >= 4
    assert value["not_tried"] == []
    assert "importance" in dict(records["tuning"].value)


@pytest.mark.parametrize(
    ("vary", "told"),
    [
        pytest.param({"resnet18": {"dropout": {"low": 0.0, "high": 0.5}}}, "no candidate", id="no-candidate"),
        pytest.param({"mlp": {"hidden": {"low": 8}}}, "low and high, or choices", id="half-a-range"),
        pytest.param({"mlp": {"hidden": {"low": 8, "high": 8}}}, "not below", id="no-width"),
    ],
)
def test_what_is_varied_is_a_span_of_a_candidate(vary: dict[str, Any], told: str) -> None:
    """A span that varies nothing, or nobody, is a fault of the plan."""
    with pytest.raises(ValidationError, match=told):
        _model(2, vary=vary)
