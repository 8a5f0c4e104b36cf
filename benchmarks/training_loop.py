"""Rows a second of our training loop beside a bare torch loop over the same network and batches.

    python -m benchmarks.training_loop [--pairs 9] [--rows 2048] [--epochs 3]

Both loops fit the same network with AdamW and a one-cycle schedule on one thread, with deterministic algorithms and
without augmentation; the bare one draws its batches from a tensor and does nothing else. They take turns, and the
figure is the median over pairs of the ratio of their processor times, which other work on the machine disturbs least;
the ratio of wall times is shown beside it. `wait` is the share of our loop's time in which the network had no batch to
work on, with the plan's default augmentation.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import click
import numpy as np
import torch

from sextant_components.modelling.checkpoints import Progress
from sextant_components.modelling.epochs import Effort, Run, optimiser_and_schedule
from sextant_components.modelling.objectives import objective_of
from sextant_components.modelling.teams import current_team
from sextant_components.modelling.tensors import Examples
from sextant_components.modelling.training import Settings, Shape, new_network, repeatable
from sextant_plan.bundle import Column
from sextant_plan.schema import Augmentation, ImageInput

SIDE, COLUMNS = 32, 12
CASES = {
    "mlp over 12 columns": ("mlp", {"hidden": 128, "layers": 2}, False),
    "small-cnn over 32 x 32 x 3": ("small-cnn", {"width": 16}, True),
    "resnet18 over 32 x 32 x 3": ("resnet18", {}, True),
}


def _examples(rows: int, *, pictures: bool) -> Examples:
    generator = np.random.default_rng(0)
    labels = (np.arange(rows) % 2).astype(np.int64)
    if pictures:
        inputs = {"image": generator.integers(0, 255, (rows, SIDE, SIDE, 3)).astype(np.uint8)}
    else:
        inputs = {"features": generator.normal(size=(rows, COLUMNS)).astype(np.float32)}
    return Examples(list(range(rows)), inputs, labels)


def _ours(settings: Settings, shape: Shape, train: Examples) -> Effort:
    """Take every step of a fit as `sextant_components.modelling.training.fit` does; return what it took."""
    team = current_team()
    with repeatable(settings.seed, settings.training):
        network = new_network(settings, shape, train).to(team.device)
        optimiser, schedule = optimiser_and_schedule(network, settings, len(train), team)
        run = Run(network, objective_of(train.labels), optimiser, schedule, train, settings, team, shape.augment)
        progress = Progress()
        for _ in range(settings.epochs):
            run.epoch(progress, lambda: None)
    return run.effort


def _bare(settings: Settings, shape: Shape, train: Examples) -> None:
    """The loop of torch's own tutorial, with the same network, batches, optimiser and schedule."""
    device = current_team().device
    with repeatable(settings.seed, settings.training):
        network = new_network(settings, shape, train).to(device)
        (name,) = network.reads
        inputs, labels = torch.from_numpy(train.inputs[name]), torch.from_numpy(train.labels)
        optimiser = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=1e-4)
        steps = settings.epochs * (len(train) // settings.batch_size)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.learning_rate, total_steps=steps)
        network.train()
        for _ in range(settings.epochs):
            for rows in torch.randperm(len(train)).split(settings.batch_size):
                raw = network(**{name: inputs[rows].to(device)})
                loss = torch.nn.functional.cross_entropy(raw, labels[rows].to(device))
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
                schedule.step()


def _seconds(act: Callable[[], object]) -> tuple[float, float]:
    """Return processor and wall seconds; a GPU's queue is empty at both ends."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    wall, processor = time.perf_counter(), time.process_time()
    act()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.process_time() - processor, time.perf_counter() - wall


@click.command()
@click.option("--pairs", default=9, show_default=True, help="Turns of both loops.")
@click.option("--rows", default=2048, show_default=True, help="Training rows, a multiple of the batch.")
@click.option("--epochs", default=3, show_default=True, help="Passes over the rows in each turn.")
def main(pairs: int, rows: int, epochs: int) -> None:
    """Print a table of the ratios."""
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else "one thread of a CPU"
    print(f"{where}; torch {torch.__version__}; {pairs} pairs of {epochs} x {rows} rows, batches of 64\n")
    print("| network | ours, rows/s | bare / ours, processor time | bare / ours, wall time | wait |")
    print("|---|---|---|---|---|")
    light: tuple[Augmentation, ...] = ("light",)
    for label, (architecture, params, pictures) in CASES.items():
        train = _examples(rows, pictures=pictures)
        image = ImageInput(height=SIDE, width=SIDE, channels=3) if pictures else None
        columns = [] if pictures else [Column(name=str(index)) for index in range(COLUMNS)]
        settings = Settings(architecture, params, 1e-3, 1e-4, epochs, 64, seed=0)
        shape = Shape(image, columns, ["a", "b"], augment=())
        _ours(settings, shape, train)
        _bare(settings, shape, train)
        turns = []
        for turn in range(pairs):
            acts = [lambda: _ours(settings, shape, train), lambda: _bare(settings, shape, train)]  # noqa: B023
            found = [_seconds(act) for act in (acts if turn % 2 == 0 else acts[::-1])]
            turns.append(found if turn % 2 == 0 else found[::-1])
        processor, wall = (median(bare[kind] / ours[kind] for ours, bare in turns) for kind in (0, 1))
        speed = epochs * rows / median(ours[1] for ours, _ in turns)
        wait = _ours(settings, Shape(image, columns, ["a", "b"], augment=light), train).wait
        print(f"| {label} | {speed:,.0f} | {processor:.3f} | {wall:.3f} | {wait:.1%} |", flush=True)


if __name__ == "__main__":
    main()
