"""Checks that training works at all, before anybody trusts its results."""

from __future__ import annotations

import math
from dataclasses import replace

from sextant_components.modelling.boosting import learn_by_heart
from sextant_components.modelling.checkpoints import Epoch
from sextant_components.modelling.objectives import objective_of
from sextant_components.modelling.tensors import Examples
from sextant_components.modelling.training import (
    Settings,
    Shape,
    new_network,
    predict,
    repeatable,
    tensors_of,
)
from sextant_plan.verdicts import Verdict
from sextant_serving.architectures import GRADIENT_BOOSTING

BATCH_ROWS = 32
STEPS = 150
LEARNED = 0.95  # of the objective's score: two rows of 32 may be twins with different labels
MOST_STEPS = 3000  # columns that nearly say the same take long to tell apart; each step takes a fraction of a ms
FALL = 0.9


def overfit_one_batch(settings: Settings, shape: Shape, train: Examples) -> float:
    """Return the score on a few training rows after fitting those alone, without decay, dropout or noise.

    A candidate that cannot learn them by heart has a fault in its wiring, its labels or its gradients.
    """
    rows = train.spread(heart_rows(shape, train))
    if settings.architecture == GRADIENT_BOOSTING:
        return learn_by_heart(shape, rows)
    import torch

    bare = replace(settings, params={**settings.params, **({"dropout": 0.0} if "dropout" in settings.params else {})})
    with repeatable(settings.seed):
        objective = objective_of(rows.labels)
        network = new_network(bare, shape, train)
        optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
        labels, tensors = torch.from_numpy(rows.labels), tensors_of(rows.inputs, network.reads)
        score = -math.inf
        for _ in range(STEPS, (MOST_STEPS if rows.numeric else STEPS) + 1, STEPS):
            network.train()
            for _ in range(STEPS):
                loss = objective.torch_loss(network, network(**tensors), labels, None)
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
            score = objective.score(predict(network, rows.inputs), rows.labels)
            if score >= LEARNED:
                break
        return score


def heart_rows(shape: Shape, train: Examples) -> int:
    """Return how many rows every candidate can learn by heart: 32, or of numbers half as many as a line has slopes."""
    if not train.numeric or shape.image is not None:
        return min(BATCH_ROWS, len(train))
    return min(BATCH_ROWS, len(train), max(2, len(shape.columns) // 2))


def loss_fell(history: list[Epoch]) -> Verdict:
    """Judge the training loss: pass if the last epoch's is below nine tenths of the first's; one epoch is unknown."""
    if len(history) < 2:
        return Verdict.UNKNOWN
    return Verdict.PASS if history[-1].train_loss < FALL * history[0].train_loss else Verdict.FAIL
