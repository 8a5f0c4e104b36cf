"""Fitting one network: AdamW on a one-cycle schedule, the best epoch kept; the same seed gives the same weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sextant_components.augmentation import augmented
from sextant_components.checkpoints import Epoch, Progress, checkpoint_file, restore_checkpoint, save_checkpoint
from sextant_components.tensors import Examples, Inputs, batches
from sextant_plan.bundle import Column
from sextant_plan.schema import Augmentation, ImageInput

if TYPE_CHECKING:
    import torch

    from sextant_serving.architectures import Network
    from sextant_serving.architectures.gradient_boosting import Trees

    Learned = Network | Trees

EVALUATION_ROWS = 256


@dataclass(frozen=True)
class Shape:
    """What a network is built for; relative paths in a candidate's parameters begin at `plan_dir`."""

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


@dataclass(frozen=True)
class Fitted:
    """A fitted network (or trees) as it was in its best epoch, and what it says of the validation rows."""

    settings: Settings
    network: Learned
    history: list[Epoch]
    probabilities: NDArray[np.float32]
    accuracy: float
    loss: float


def fit(
    settings: Settings,
    shape: Shape,
    train: Examples,
    valid: Examples,
    *,
    on_epoch: Callable[[int, Epoch], None] = lambda _number, _epoch: None,
    checkpoints: Path | None = None,
) -> Fitted:
    """Fit a network. `on_epoch` gets each epoch's number, from 0, and may raise to stop.

    The best epoch is that of the highest validation accuracy, then of the lowest loss. With a folder for
    `checkpoints` a fit that was broken off goes on after its last whole epoch and ends with the weights, bit for
    bit, of one that was not; `on_epoch` then gets the epochs before as well.
    """
    with repeatable(settings.seed):
        network = new_network(settings, shape, train)
        optimiser, schedule = _optimiser(network, settings, len(train))
        parts = {"network": network, "optimiser": optimiser, "schedule": schedule}
        file = None if checkpoints is None else checkpoint_file(checkpoints, _described(settings, shape), train, valid)
        progress = Progress() if file is None else restore_checkpoint(file, parts)
        for number, epoch in enumerate(list(progress.history)):
            on_epoch(number, epoch)
        for number in range(len(progress.history), settings.epochs):
            train_loss = _train_epoch(network, train, settings.batch_size, optimiser, schedule, augment=shape.augment)
            _judge(progress, network, train_loss, valid)
            if file is not None:
                save_checkpoint(file, progress, parts)
            on_epoch(number, progress.history[-1])
        assert progress.best is not None
        (accuracy, minus_loss), weights, probabilities = progress.best
        network.load_state_dict(weights)
        network.eval()
    return Fitted(settings, network, progress.history, probabilities, accuracy=accuracy, loss=-minus_loss)


def _described(settings: Settings, shape: Shape) -> dict[str, object]:
    """Return what decides a fit's weights besides the rows; pretrained weights are in `params` by their digest."""
    return {
        **vars(settings),
        "params": dict(settings.params),
        "image": shape.image.model_dump() if shape.image else None,
        "columns": [column.model_dump() for column in shape.columns],
        "classes": shape.classes,
        "augment": list(shape.augment),
    }


def _judge(progress: Progress, network: Network, train_loss: float, valid: Examples) -> None:
    """Add an epoch to the history, and keep its weights if it is the best one."""
    probabilities = predict(network, valid.inputs)
    loss, accuracy = loss_of(probabilities, valid.labels), accuracy_of(probabilities, valid.labels)
    progress.history.append(Epoch(train_loss=train_loss, valid_loss=loss, valid_accuracy=accuracy))
    if progress.best is None or (accuracy, -loss) > progress.best[0]:
        weights = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        progress.best = ((accuracy, -loss), weights, probabilities)


def new_network(settings: Settings, shape: Shape, train: Examples) -> Network:
    """Build the network of these settings, scaled to the training rows; call it under `repeatable`."""
    import torch

    from sextant_components.pretrained import load_pretrained
    from sextant_serving.architectures import build

    network = build(
        settings.architecture,
        settings.params,
        image=shape.image,
        columns=len(shape.columns),
        classes=len(shape.classes),
    )
    load_pretrained(network, settings.architecture, settings.params, shape.plan_dir)
    if "features" in network.reads:
        network.fit_scaling(torch.from_numpy(train.inputs["features"]))
    return network


@contextmanager
def repeatable(seed: int) -> Iterator[None]:
    """Make torch's CPU arithmetic depend on the seed alone, and leave its state as it was.

    One thread: a sum that is split over another number of threads rounds differently, and on networks of this
    size several threads on shared cores are slower than one.
    """
    import torch

    deterministic, threads = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic)
            torch.set_num_threads(threads)


def predict(network: Learned, inputs: Inputs) -> NDArray[np.float32]:
    """Return the probabilities that a network or trees give, shape (rows, classes)."""
    from sextant_serving.architectures.gradient_boosting import Trees

    if isinstance(network, Trees):
        return network.probabilities(inputs["features"])
    import torch

    network.eval()
    with torch.inference_mode():
        logits = [network(**tensors_of(piece, network.reads)) for piece in batches(inputs, EVALUATION_ROWS)]
        return torch.softmax(torch.cat(logits), dim=1).numpy()


def tensors_of(inputs: Inputs, reads: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """Return the inputs that a network reads as torch tensors over the same memory."""
    import torch

    return {name: torch.from_numpy(np.ascontiguousarray(inputs[name])) for name in reads}


def accuracy_of(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Return the share of rows whose most probable class is the label."""
    return float((probabilities.argmax(axis=1) == labels).mean())


def loss_of(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Return the mean cross-entropy, in nats."""
    chosen = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(chosen, 1e-12)).mean())


def _optimiser(
    network: Network, settings: Settings, rows: int
) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.OneCycleLR]:
    import torch

    optimiser = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    steps = settings.epochs * max(1, len(_batch_starts(rows, settings.batch_size)))
    # torch asks for at least two steps between the ends of the cycle.
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=settings.learning_rate, total_steps=max(steps, 4))
    return optimiser, schedule


def _batch_starts(rows: int, size: int) -> list[int]:
    """Return where the batches begin; a last batch of one row is left out, since it cannot be normalised."""
    return [start for start in range(0, rows, size) if rows - start > 1]


def _train_epoch(
    network: Network,
    train: Examples,
    size: int,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    *,
    augment: Sequence[Augmentation],
) -> float:
    import torch

    network.train()
    order = torch.randperm(len(train)).numpy()
    total, rows = 0.0, 0
    for start in _batch_starts(len(train), size):
        piece = train.take(order[start : start + size])
        tensors = tensors_of(piece.inputs, network.reads)
        if "image" in tensors:
            tensors["image"] = augmented(tensors["image"], augment)
        labels = torch.from_numpy(piece.labels)
        loss = torch.nn.functional.cross_entropy(network(**tensors), labels)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        total, rows = total + float(loss.detach()) * len(piece), rows + len(piece)
    return total / max(rows, 1)
