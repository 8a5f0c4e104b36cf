"""Fitting one network on one device or on several: the best epoch kept, the same seed the same weights."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sextant_components.modelling.checkpoints import (
    Best,
    Epoch,
    Progress,
    checkpoint_file,
    restore_checkpoint,
    save_checkpoint,
)
from sextant_components.modelling.epochs import Effort, Run, optimiser_and_schedule
from sextant_components.modelling.objectives import Objective, objective_of
from sextant_components.modelling.teams import Team, current_team
from sextant_components.modelling.tensors import Examples, Inputs, batches
from sextant_plan.bundle import Column
from sextant_plan.schema import Augmentation, ImageInput, Training

if TYPE_CHECKING:
    import torch

    from sextant_serving.architectures import Network
    from sextant_serving.architectures.gradient_boosting import Trees

    Learned = Network | Trees

EVALUATION_ROWS = 256
PLAIN = Training()


@dataclass(frozen=True)
class Shape:
    """What a network is built for; relative paths in a candidate's parameters begin at `plan_dir`.

    Without classes the label is a number.
    """

    image: ImageInput | None
    columns: list[Column]
    classes: list[str]
    plan_dir: Path = Path()
    augment: tuple[Augmentation, ...] = ("light",)


@dataclass(frozen=True)
class Settings:
    """How one network is fitted."""

    architecture: str
    params: Mapping[str, int | float | str | bool]
    learning_rate: float
    weight_decay: float
    epochs: int
    batch_size: int
    seed: int
    training: Training = PLAIN


@dataclass(frozen=True)
class Fitted:
    """A fitted network (or trees) as it was in its best epoch, and what it answers to the validation rows.

    `score` is the objective's, such as accuracy; `effort` is what the fit's steps took, None for trees.
    """

    settings: Settings
    network: Learned
    history: list[Epoch]
    outputs: NDArray[np.float32]
    score: float
    loss: float
    effort: Effort | None = None


def fit(
    settings: Settings,
    shape: Shape,
    train: Examples,
    valid: Examples,
    *,
    on_epoch: Callable[[int, Epoch], None] = lambda _number, _epoch: None,
    checkpoints: Path | None = None,
    team: Team | None = None,
    start: Mapping[str, torch.Tensor] | None = None,
) -> Fitted:
    """Fit a network. `on_epoch` gets each epoch's number, from 0, and may raise to stop.

    The best epoch is that of the highest validation score, then of the lowest loss. With a folder for `checkpoints`
    a fit that was broken off goes on after its last checkpoint and ends with the weights, bit for bit, of one that
    was not; `on_epoch` then gets the epochs before as well. In a team (`teams.Team`) every member takes its share of
    each batch, and the first judges and writes. `start` are weights to begin with instead of random ones.
    """
    team = team or current_team()
    team.begin(settings)
    with repeatable(settings.seed, settings.training):
        objective = objective_of(train.labels)
        network = new_network(settings, shape, train, pretrained=start is None).to(team.device)
        if start is not None:
            network.load_state_dict(start)
        optimiser, schedule = optimiser_and_schedule(network, settings, len(train), team)
        parts = {"network": network, "optimiser": optimiser, "schedule": schedule}
        file = None if checkpoints is None else checkpoint_file(checkpoints, _described(settings, shape), train, valid)
        progress = Progress() if file is None else restore_checkpoint(file, parts, team.device)
        team.scatter_randomness(settings.seed)
        run = Run(network, objective, optimiser, schedule, train, settings, team, shape.augment)
        for number, epoch in enumerate(list(progress.history)):
            if team.leads:
                on_epoch(number, epoch)

        def keep() -> None:
            if file is not None and team.leads:
                save_checkpoint(file, progress, parts)

        while len(progress.history) < settings.epochs and not _spent(progress, settings.training):
            train_loss = run.epoch(progress, keep)

            def judge(train_loss: float = train_loss) -> None:
                _judge(progress, network, objective, train_loss, valid)
                keep()
                on_epoch(len(progress.history) - 1, progress.history[-1])

            team.once(judge, progress)
        best: Best = team.agree(progress.best)
        network.cpu().load_state_dict(best.weights)
        network.eval()
    return Fitted(settings, network, progress.history, best.outputs, best.score, best.loss, run.effort)


def _spent(progress: Progress, training: Training) -> bool:
    """Tell whether so many epochs brought nothing better that more are not worth their time."""
    if training.patience is None or not progress.history:
        return False
    ranks = [(epoch.valid_score, -epoch.valid_loss) for epoch in progress.history]
    return len(ranks) - 1 - ranks.index(max(ranks)) >= training.patience


def _described(settings: Settings, shape: Shape) -> dict[str, object]:
    """Return what decides a fit's weights besides the rows; pretrained weights are in `params` by their digest."""
    return {
        **vars(settings),
        "params": dict(settings.params),
        "training": settings.training.model_dump(),
        "image": shape.image.model_dump() if shape.image else None,
        "columns": [column.model_dump() for column in shape.columns],
        "classes": shape.classes,
        "augment": list(shape.augment),
    }


def _judge(progress: Progress, network: Network, objective: Objective, train_loss: float, valid: Examples) -> None:
    """Add an epoch to the history, and keep its weights if it is the best one."""
    outputs = predict(network, valid.inputs)
    loss, score = objective.loss(outputs, valid.labels), objective.score(outputs, valid.labels)
    progress.history.append(Epoch(train_loss=train_loss, valid_loss=loss, valid_score=score))
    if progress.best is None or (score, -loss) > (progress.best.score, -progress.best.loss):
        weights = {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
        progress.best = Best(score, loss, weights, outputs)


def new_network(settings: Settings, shape: Shape, train: Examples, *, pretrained: bool = True) -> Network:
    """Build the network of these settings, scaled to the training rows; call it under `repeatable`.

    It begins with the weights that the parameters name unless it is not to be `pretrained`.
    """
    import torch

    from sextant_components.modelling.pretrained import load_pretrained
    from sextant_serving.architectures import build

    network = build(
        settings.architecture,
        settings.params,
        image=shape.image,
        columns=len(shape.columns),
        classes=len(shape.classes),
    )
    if pretrained:
        load_pretrained(network, settings.architecture, settings.params, shape.plan_dir)
    if "features" in network.reads:
        network.fit_scaling(torch.from_numpy(train.inputs["features"]))
    objective_of(train.labels).fit_scale(network)
    return network


@contextmanager
def repeatable(seed: int, training: Training = PLAIN) -> Iterator[None]:
    """Make torch's arithmetic depend on the seed alone, and leave its state as it was.

    One thread: a sum that is split over another number of threads rounds differently, and on networks of this
    size several threads on shared cores are slower than one. Without `training.deterministic` only the seed is set.
    """
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS refuses to be deterministic
    deterministic, threads = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if training.deterministic:
            torch.use_deterministic_algorithms(True)
            torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic)
            torch.set_num_threads(threads)


def predict(network: Learned, inputs: Inputs) -> NDArray[np.float32]:
    """Return what a network or trees answer: probabilities, shape (rows, classes), or numbers, (rows, 1)."""
    from sextant_serving.architectures.gradient_boosting import Trees

    if isinstance(network, Trees):
        return network.answers(inputs["features"])
    import torch

    network.eval()
    device = next(network.parameters()).device
    with torch.inference_mode():
        found = []
        for piece in batches(inputs, EVALUATION_ROWS):
            tensors = {name: tensor.to(device) for name, tensor in tensors_of(piece, network.reads).items()}
            found.append(network(**tensors))
        answers: NDArray[np.float32] = network.answered(torch.cat(found)).float().cpu().numpy()
        return answers


def tensors_of(inputs: Inputs, reads: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """Return the inputs that a network reads as torch tensors over the same memory."""
    import torch

    return {name: torch.from_numpy(np.ascontiguousarray(inputs[name])) for name in reads}
