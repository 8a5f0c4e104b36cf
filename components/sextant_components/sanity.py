"""Checks that training works at all, before anybody trusts its results."""

from __future__ import annotations

from dataclasses import replace

from sextant_components.boosting import learn_by_heart
from sextant_components.checkpoints import Epoch
from sextant_components.tensors import Examples
from sextant_components.training import (
    Settings,
    Shape,
    accuracy_of,
    new_network,
    predict,
    repeatable,
    tensors_of,
)
from sextant_plan.verdicts import Verdict
from sextant_serving.architectures import GRADIENT_BOOSTING

BATCH_ROWS = 32
STEPS = 150
LEARNED = 0.95  # two rows of 32 may be twins with different labels
FALL = 0.9


def overfit_one_batch(settings: Settings, shape: Shape, train: Examples) -> float:
    """Return the accuracy on 32 training rows after fitting those alone, without decay, dropout or noise.

    A candidate that cannot learn 32 rows by heart has a fault in its wiring, its labels or its gradients.
    """
    rows = train.spread(BATCH_ROWS)
    if settings.architecture == GRADIENT_BOOSTING:
        return learn_by_heart(shape, rows)
    import torch

    bare = replace(settings, params={**settings.params, **({"dropout": 0.0} if "dropout" in settings.params else {})})
    with repeatable(settings.seed):
        network = new_network(bare, shape, train)
        network.train()
        optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
        labels, tensors = torch.from_numpy(rows.labels), tensors_of(rows.inputs, network.reads)
        for _ in range(STEPS):
            loss = torch.nn.functional.cross_entropy(network(**tensors), labels)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        return accuracy_of(predict(network, rows.inputs), rows.labels)


def loss_fell(history: list[Epoch]) -> Verdict:
    """Judge the training loss: pass if the last epoch's is below nine tenths of the first's; one epoch is unknown."""
    if len(history) < 2:
        return Verdict.UNKNOWN
    return Verdict.PASS if history[-1].train_loss < FALL * history[0].train_loss else Verdict.FAIL
