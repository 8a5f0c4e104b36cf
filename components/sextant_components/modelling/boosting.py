"""Fitting gradient-boosted trees with LightGBM: stopped early on the validation rows, the same seed the same trees."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sextant_components.modelling.checkpoints import Epoch
from sextant_components.modelling.objectives import Numbers, Objective, objective_of
from sextant_components.modelling.tensors import Examples
from sextant_components.modelling.training import Fitted, Settings, Shape
from sextant_plan.bundle import Column
from sextant_serving.architectures import GRADIENT_BOOSTING, complete
from sextant_serving.architectures.gradient_boosting import Trees

PATIENCE = 20  # rounds without a lower validation loss after which no more trees are added
ROW_SHARE = 0.8  # of the rows, drawn anew for each round: what lets seeds differ at all
HEART_ROUNDS = 100


def fit_trees(settings: Settings, shape: Shape, train: Examples, valid: Examples) -> Fitted:
    """Fit trees on the columns; the best round is that of the lowest validation loss. A round is an `Epoch`.

    Raises ArchitectureMisfit for parameters that the trees do not have.
    """
    params = complete(GRADIENT_BOOSTING, settings.params)
    history: list[Epoch] = []
    objective = objective_of(train.labels)

    def note(round_: Any) -> None:
        found = {(split, name): value for split, name, value, _ in round_.evaluation_result_list}
        history.append(_epoch(found, valid, objective))

    trees = _fit(
        {
            "num_leaves": params["leaves"],
            "min_data_in_leaf": params["leaf_rows"],
            "learning_rate": settings.learning_rate,
            "bagging_fraction": ROW_SHARE,
            "bagging_freq": 1,
            "seed": settings.seed,
        },
        int(params["trees"]),
        shape,
        train,
        valid=valid,
        note=note,
    )
    outputs = trees.answers(valid.inputs["features"])
    score, loss = objective.score(outputs, valid.labels), objective.loss(outputs, valid.labels)
    return Fitted(settings, trees, history, outputs, score, loss)


def _epoch(found: Mapping[tuple[str, str], float], valid: Examples, objective: Objective) -> Epoch:
    """Return a round's figures as the objective would give them, from LightGBM's metrics by split and name."""
    if not isinstance(objective, Numbers):
        train_loss, valid_loss = (found[split, "multi_logloss"] for split in ("train", "valid"))
        return Epoch(train_loss=train_loss, valid_loss=valid_loss, valid_score=1 - found["valid", "multi_error"])
    train_loss, valid_loss = (found[split, "l2"] / objective.spread**2 for split in ("train", "valid"))
    score = 1 - found["valid", "l2"] / float(valid.labels.var() or 1.0)
    return Epoch(train_loss=train_loss, valid_loss=valid_loss, valid_score=score)


def learn_by_heart(shape: Shape, rows: Examples) -> float:
    """Return the score on a few rows after fitting trees to those alone, with a leaf for a single row allowed."""
    bare = {"num_leaves": 31, "min_data_in_leaf": 1, "min_data_in_bin": 1, "learning_rate": 0.3, "seed": 0}
    trees = _fit(bare, HEART_ROUNDS, shape, rows, valid=rows)
    return objective_of(rows.labels).score(trees.answers(rows.inputs["features"]), rows.labels)


def noise_trees(features: NDArray[np.float32], classes: int, *, seed: int) -> Trees:
    """Return trees fitted to random labels on real rows: what random weights are to a network.

    Without classes the labels are random numbers.
    """
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, len(features)) if classes else generator.normal(size=len(features))
    examples = Examples(list(range(len(features))), {"features": features}, labels)
    shape = Shape(
        None, [Column(name=str(index)) for index in range(features.shape[1])], [str(c) for c in range(classes)]
    )
    params = {"num_leaves": 7, "min_data_in_leaf": 1, "learning_rate": 0.3, "seed": seed}
    return _fit(params, 10, shape, examples, valid=examples)


def _fit(
    params: Mapping[str, int | float | str | bool],
    rounds: int,
    shape: Shape,
    train: Examples,
    *,
    valid: Examples,
    note: Callable[[Any], None] = lambda _round: None,
) -> Trees:
    import lightgbm

    # One thread and row-wise histograms: another order of sums would give other trees on another machine.
    fixed: dict[str, Any] = {"objective": "regression", "metric": ["l2"]}
    if shape.classes:
        metrics = ["multi_logloss", "multi_error"]
        fixed = {"objective": "multiclass", "num_class": len(shape.classes), "metric": metrics}
    repeatable = {"num_threads": 1, "deterministic": True, "force_row_wise": True, "verbosity": -1}
    data = lightgbm.Dataset(
        train.inputs["features"], train.labels, categorical_feature=_categories(shape.columns), params=dict(params)
    )
    judged = lightgbm.Dataset(valid.inputs["features"], valid.labels, reference=data)
    booster = lightgbm.train(
        {**fixed, **repeatable, **params},
        data,
        rounds,
        valid_sets=[data, judged],
        valid_names=["train", "valid"],
        callbacks=[note, lightgbm.early_stopping(PATIENCE, first_metric_only=True, verbose=False)],
    )
    # Read back from the text, so that what is judged here is what will be served.
    return Trees.from_text(booster.model_to_string(num_iteration=booster.best_iteration))


def _categories(columns: Sequence[Column]) -> list[int]:
    return [index for index, column in enumerate(columns) if column.vocabulary is not None]
