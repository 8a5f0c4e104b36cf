"""Explanations: which parts of a picture or which columns an answer hangs on, and whether they can be believed.

An explanation that stays the same when the network's weights are replaced by random ones explains the input,
not the model (Adebayo et al. 2018).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sextant_components.modelling.objectives import objective_of
from sextant_components.modelling.tensors import Inputs
from sextant_components.modelling.training import tensors_of
from sextant_plan.bundle import BundleSpec

if TYPE_CHECKING:
    from torch import Tensor

    from sextant_serving.architectures import Network
    from sextant_serving.architectures.gradient_boosting import Trees

Run = Callable[[Inputs], NDArray[np.float32]]

GRID = 6
GREY = 127
PATH_STEPS = 32  # of the integral
SAME = 0.5  # rank correlation from which two explanations count as the same


def occlusion_map(run: Run, inputs: Inputs) -> NDArray[np.float64]:
    """Return how much the chosen class loses when each part of one picture is greyed, shape (6, 6).

    `inputs` hold one row. Parts overlap by half, so that an edge between two is seen (Zeiler and Fergus 2014).
    """
    picture = inputs["image"][0]
    height, width = picture.shape[:2]
    tall, wide = max(1, 2 * height // (GRID + 1)), max(1, 2 * width // (GRID + 1))
    covered = np.repeat(picture[None], GRID * GRID, axis=0)
    for place in range(GRID * GRID):
        row, column = divmod(place, GRID)
        top, left = row * (height - tall) // (GRID - 1), column * (width - wide) // (GRID - 1)
        covered[place, top : top + tall, left : left + wide] = GREY
    probes = {name: np.repeat(array[:1], GRID * GRID, axis=0) for name, array in inputs.items()} | {"image": covered}
    whole = run({name: array[:1] for name, array in inputs.items()})[0]
    chosen = int(whole.argmax())
    return np.asarray(whole[chosen] - run(probes)[:, chosen], dtype=np.float64).reshape(GRID, GRID)


def permutation_importance(run: Run, inputs: Inputs, labels: NDArray[Any], *, seed: int = 0) -> NDArray[np.float64]:
    """Return the score lost when each column is shuffled over the rows, shape (columns,) (Breiman 2001).

    The score is accuracy, or the explained share of variance where `labels` are numbers.
    """
    objective = objective_of(labels)
    generator = np.random.default_rng(seed)
    features = inputs["features"]
    whole = objective.score(run(inputs), labels)
    losses = np.empty(features.shape[1])
    for column in range(features.shape[1]):
        shuffled = features.copy()
        shuffled[:, column] = generator.permutation(shuffled[:, column])
        losses[column] = whole - objective.score(run({**inputs, "features": shuffled}), labels)
    return losses


def columns_left_out(run: Run, inputs: Inputs, others: Inputs) -> NDArray[np.float64]:
    """Return what each column adds to the chosen answer of each row, shape (rows, columns).

    A column counts as left out where it has the median of the rows of `others`. It needs no gradients.
    """
    features, medians = inputs["features"], np.nanmedian(others["features"], axis=0)
    whole = run(inputs)
    rows, chosen = np.arange(len(whole)), whole.argmax(axis=1)
    parts = np.empty(features.shape, dtype=np.float64)
    for column in range(features.shape[1]):
        without = features.copy()
        without[:, column] = medians[column]
        parts[:, column] = whole[rows, chosen] - run({**inputs, "features": without})[rows, chosen]
    return parts


def integrated_gradients(network: Network, inputs: Inputs, *, name: str) -> NDArray[np.float64]:
    """Return what each part of the input `name` adds to the chosen class's probability, over rows of `inputs`.

    Shape (rows, height, width) of an image, the channels summed, and (rows, columns) of features. The way begins at
    grey, or at the training rows' mean (Sundararajan et al. 2017); computed by Captum.
    """
    import torch
    from captum.attr import IntegratedGradients

    tensors = {each: tensor.to(torch.float32) for each, tensor in tensors_of(inputs, network.reads).items()}
    others = {each: tensor for each, tensor in tensors.items() if each != name}
    start = torch.full_like(tensors[name], GREY) if name == "image" else network.feature_mean.expand_as(tensors[name])

    def answers(part: Tensor) -> Tensor:
        times = len(part) // len(tensors[name])
        rest = {each: tensor.repeat(times, *[1] * (tensor.dim() - 1)) for each, tensor in others.items()}
        return network.answered(network(**{name: part}, **rest))

    network.eval()
    with torch.no_grad():
        chosen = answers(tensors[name]).argmax(dim=1)
    found = IntegratedGradients(answers).attribute(tensors[name], start, target=chosen, n_steps=PATH_STEPS)
    parts: NDArray[np.float64] = found.detach().numpy().astype(np.float64)
    return parts.sum(axis=3) if name == "image" else parts


def random_network(spec: BundleSpec, *, seed: int = 0) -> Network:
    """Return the bundle's first network with random weights."""
    from sextant_components.modelling.training import repeatable
    from sextant_serving.architectures import build

    member = spec.members[0]
    with repeatable(seed):
        return build(
            member.architecture,
            member.params,
            image=spec.image,
            columns=len(spec.columns),
            classes=len(spec.classes),
        )


def randomised(spec: BundleSpec, *, seed: int = 0) -> Run:
    """Return the bundle's first network with random weights; every engine's bundle names its architecture.

    Trees have no weights to draw: theirs are fitted to random labels on the rows that are asked for first, which is
    the same source's other test.
    """
    from sextant_components.modelling.boosting import noise_trees
    from sextant_components.modelling.training import predict
    from sextant_serving.architectures import GRADIENT_BOOSTING

    if spec.members[0].architecture == GRADIENT_BOOSTING:
        fitted: list[Trees] = []

        def run(inputs: Inputs) -> NDArray[np.float32]:
            if not fitted:
                fitted.append(noise_trees(inputs["features"], len(spec.classes), seed=seed))
            return predict(fitted[0], inputs)

        return run
    network = random_network(spec, seed=seed)
    return lambda inputs: predict(network, inputs)


def rank_correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return Spearman's correlation of two explanations; 0 if one of them says nothing."""
    from scipy.stats import rankdata

    first, second = rankdata(one), rankdata(other)
    if first.std() == 0 or second.std() == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])
