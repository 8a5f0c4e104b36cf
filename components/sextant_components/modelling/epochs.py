"""One pass over the training rows: its batches, the step on each, and how much of it was waiting for input."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from sextant_components.modelling.batch_feed import Batch, Feed
from sextant_components.modelling.checkpoints import Progress
from sextant_components.modelling.objectives import Objective
from sextant_components.modelling.teams import Team
from sextant_components.modelling.tensors import Examples

if TYPE_CHECKING:
    import torch

    from sextant_components.modelling.training import Settings
    from sextant_plan.schema import Augmentation
    from sextant_serving.architectures import Network

WARM_UP = 0.1  # share of the steps in which a cosine schedule rises to the full rate


@dataclass
class Effort:
    """What a fit's steps took: rows, seconds in all, and seconds in which the device had no batch to work on."""

    rows: int = 0
    seconds: float = 0.0
    waited: float = 0.0

    @property
    def wait(self) -> float:
        """The share of the time that was spent on getting the next batch ready."""
        return self.waited / self.seconds if self.seconds else 0.0


@dataclass
class Run:
    """A fit's parts, and what its steps have taken so far."""

    network: Network
    objective: Objective
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    train: Examples
    settings: Settings
    team: Team
    augment: Sequence[Augmentation]
    effort: Effort = field(default_factory=Effort)

    def __post_init__(self) -> None:
        if self.settings.training.channels_last and "image" in self.network.reads:
            import torch

            self.network.to(memory_format=torch.channels_last)
        self._module = self.team.wrapped(self.network)
        self._weights = self._class_weights()
        self._feed = Feed(self.train, self.network.reads, self.augment, self.team, self.settings.seed)
        self._starts = batch_starts(len(self.train), self.settings.batch_size, self.team.size)

    def epoch(self, progress: Progress, keep: Callable[[], None]) -> float:
        """Take every step of an epoch that `progress` has not behind it; return the epoch's mean training loss.

        `keep` is called where a checkpoint is due.
        """
        import torch

        self._module.train()
        if progress.order is None:
            progress.order = self.team.agree(torch.randperm(len(self.train)))
        assert progress.order is not None
        order, every = progress.order.numpy(), self.settings.training.checkpoint_steps
        rows = [order[start : start + self.settings.batch_size] for start in self._starts[progress.steps :]]
        began = time.perf_counter()
        total = torch.zeros((), device=self.team.device, dtype=torch.float64)
        for batch in self._waited(self._feed.batches(rows, epoch=len(progress.history), first=progress.steps)):
            total.add_(self._step(batch), alpha=batch.rows)
            self.effort.rows += batch.rows
            progress.steps += 1
            if every is not None and progress.steps % every == 0 and progress.steps < len(self._starts):
                progress.loss_sum += self.team.summed(total)
                total.zero_()
                keep()
        loss_sum = progress.loss_sum + self.team.summed(total)
        self.effort.seconds += time.perf_counter() - began
        progress.order, progress.steps, progress.loss_sum = None, 0, 0.0
        return loss_sum / max(sum(min(self.settings.batch_size, len(order) - start) for start in self._starts), 1)

    def _waited(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Yield the batches and note how long each was waited for."""
        while True:
            began = time.perf_counter()
            batch = next(batches, None)
            self.effort.waited += time.perf_counter() - began
            if batch is None:
                return
            yield batch

    def _step(self, batch: Batch) -> torch.Tensor:
        """Take one step on a batch; return this member's part of its mean loss."""
        import torch

        share = batch.share
        with self._precision():
            raw = self._module(**batch.inputs)
        loss = self.objective.torch_loss(self.network, raw.float(), batch.labels, self._weights)
        self.optimiser.zero_grad(set_to_none=True)
        # The members' gradients are averaged, so that each weighs by its share of the rows, not by one vote.
        weight = share * self.team.size
        (loss if weight == 1 else loss * weight).backward()  # type: ignore[no-untyped-call]
        if (limit := self.settings.training.clip_norm) is not None:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), limit)
        self.optimiser.step()
        self.schedule.step()
        return loss.detach() if share == 1 else loss.detach() * share

    def _precision(self) -> AbstractContextManager[None]:
        import torch

        if self.settings.training.precision == "float32":
            return nullcontext()
        return torch.autocast(self.team.device.type, dtype=torch.bfloat16)

    def _class_weights(self) -> torch.Tensor | None:
        """Return a weight for each class, of which the rows' mean is 1; None where all weigh the same."""
        if self.settings.training.class_weights == "none" or self.train.labels.dtype.kind == "f":
            return None
        import torch

        counts = np.bincount(self.train.labels)
        weights = len(self.train) / (np.count_nonzero(counts) * np.maximum(counts, 1))
        return torch.from_numpy(weights.astype(np.float32)).to(self.team.device)


def batch_starts(rows: int, size: int, members: int = 1) -> list[int]:
    """Return where the batches begin; a last one with a single row for a member cannot be normalised and is left out.

    `size` is that of the whole team's batch.
    """
    return [start for start in range(0, rows, size) if min(size, rows - start) >= 2 * members]


def optimiser_and_schedule(
    network: Network, settings: Settings, rows: int, team: Team
) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.LRScheduler]:
    """Return AdamW over the network's parameters and the plan's schedule of its rate, one step a batch."""
    import torch

    scheduler = torch.optim.lr_scheduler
    optimiser = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    steps = settings.epochs * max(1, len(batch_starts(rows, settings.batch_size, team.size)))
    match settings.training.schedule:
        case "constant":
            return optimiser, scheduler.ConstantLR(optimiser, factor=1.0)
        case "cosine":
            rise = max(1, round(WARM_UP * steps))
            warm = scheduler.LinearLR(optimiser, start_factor=0.1, total_iters=rise)
            fall = scheduler.CosineAnnealingLR(optimiser, T_max=max(1, steps - rise))
            return optimiser, scheduler.SequentialLR(optimiser, [warm, fall], milestones=[rise])
    # torch asks for at least two steps between the ends of the cycle.
    return optimiser, scheduler.OneCycleLR(optimiser, max_lr=settings.learning_rate, total_steps=max(steps, 4))
