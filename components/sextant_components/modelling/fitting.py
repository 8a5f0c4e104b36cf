"""Fitting a candidate, whichever family it is of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sextant_components.modelling.boosting import fit_trees
from sextant_components.modelling.checkpoints import Epoch
from sextant_components.modelling.tensors import Examples
from sextant_components.modelling.training import Fitted, Settings, Shape, fit
from sextant_serving.architectures import GRADIENT_BOOSTING


def fit_candidate(
    settings: Settings,
    shape: Shape,
    train: Examples,
    valid: Examples,
    *,
    on_epoch: Callable[[int, Epoch], None] = lambda _number, _epoch: None,
    checkpoints: Path | None = None,
) -> Fitted:
    """Fit a network or trees. `on_epoch` gets a network's epochs and may raise to stop.

    Trees are not reported: they stop by themselves, and their rounds cannot be compared with a network's epochs.
    Nor do they leave checkpoints, since they are fitted anew in seconds.
    """
    if settings.architecture == GRADIENT_BOOSTING:
        return fit_trees(settings, shape, train, valid)
    return fit(settings, shape, train, valid, on_epoch=on_epoch, checkpoints=checkpoints)
