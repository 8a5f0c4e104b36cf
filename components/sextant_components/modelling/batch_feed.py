"""The batches of an epoch, made ready while the network works on the one before.

Changing pictures costs as much as a small network's step, and a copy to a GPU is time in which it has nothing to do. A
thread does both: torch's operations leave the interpreter free. What is random about a batch comes from a generator of
its own, seeded by the fit's seed and the numbers of epoch, batch and member. So a batch is the same whether it was made
ahead or not, or after a resume, and the fit's own randomness (order of rows, dropout) is not touched by the thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sextant_components.modelling.augmentation import augmented
from sextant_components.modelling.teams import Team
from sextant_components.modelling.tensors import Examples

if TYPE_CHECKING:
    import torch

    from sextant_plan.schema import Augmentation

AHEAD = 2  # batches that lie ready; one is worked on while the next is made, the second evens out slow ones


@dataclass(frozen=True)
class Batch:
    """One member's rows on its device; `share` is their part of the whole team's batch, which has `rows`."""

    inputs: dict[str, torch.Tensor]
    labels: torch.Tensor
    rows: int
    share: float


@dataclass(frozen=True)
class Feed:
    """Makes the batches of one fit; `reads` are the inputs that its network reads."""

    train: Examples
    reads: Sequence[str]
    augment: Sequence[Augmentation]
    team: Team
    seed: int

    @property
    def is_ahead(self) -> bool:
        """Whether a thread makes batches ahead: of pictures; to pick numbers costs less than to hand them over."""
        return "image" in self.reads

    def batches(self, rows: Sequence[NDArray[np.int64]], *, epoch: int, first: int) -> Iterator[Batch]:
        """Yield the batches of the given rows, in order; the first of them is the epoch's number `first`, from 0."""
        makers = [self._maker(each, epoch, place) for place, each in enumerate(rows, first)]
        yield from _ahead(makers) if self.is_ahead else (make() for make in makers)

    def _maker(self, rows: NDArray[np.int64], epoch: int, place: int) -> Callable[[], Batch]:
        return lambda: self._batch(rows, epoch, place)

    def _batch(self, rows: NDArray[np.int64], epoch: int, place: int) -> Batch:
        import torch

        own = rows[self.team.rank :: self.team.size]
        drawn = {name: torch.from_numpy(self.train.inputs[name][own]) for name in self.reads}
        if "image" in drawn and self.augment:
            drawn["image"] = augmented(drawn["image"], self.augment, self._generator(epoch, place))
        inputs = {name: self._moved(tensor) for name, tensor in drawn.items()}
        labels = self._moved(torch.from_numpy(self.train.labels[own]))
        return Batch(inputs, labels, len(rows), len(own) / len(rows))

    def _generator(self, epoch: int, place: int) -> torch.Generator:
        import torch

        (state,) = np.random.SeedSequence([self.seed, epoch, place, self.team.rank]).generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(state >> np.uint64(1)))

    def _moved(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return a tensor on the team's device; a GPU copies it while it still works on the batch before."""
        if self.team.device.type == "cpu":
            return tensor
        return tensor.pin_memory().to(self.team.device, non_blocking=True)


def _ahead(makers: Sequence[Callable[[], Batch]]) -> Iterator[Batch]:
    """Yield what the makers make, in order, each made by a thread while those before are used."""
    import torch

    # A thread begins with one thread of arithmetic for each core; it is to have what its fit has.
    with ThreadPoolExecutor(1, "batches", torch.set_num_threads, (torch.get_num_threads(),)) as pool:
        ready: deque[Future[Batch]] = deque(pool.submit(make) for make in makers[:AHEAD])
        try:
            for make in [*makers[AHEAD:], *[None] * min(AHEAD, len(makers))]:
                batch = ready.popleft().result()
                if make is not None:
                    ready.append(pool.submit(make))
                yield batch
        finally:
            for waiting in ready:
                waiting.cancel()
