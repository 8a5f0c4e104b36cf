"""Several processes that fit one network: each takes its share of every batch, the first judges, writes and decides.

torchrun starts the processes and tells them how to find each other (`torch.distributed`): NCCL between GPUs, gloo
between CPUs. Without it a process is a team of one, and none of this costs anything.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from sextant_components.modelling.checkpoints import Epoch, Progress
    from sextant_components.modelling.training import Settings
    from sextant_serving.architectures import Network

LOST_AFTER = timedelta(hours=2)  # a member that waits longer for the others has lost them; an epoch may take an hour


class Stopped(Exception):
    """The first member ended a fit before its last epoch, or ended the team."""


@dataclass(frozen=True)
class Team:
    """The processes that fit together, seen from one of them."""

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this is the member that judges and writes."""
        return self.rank == 0

    def begin(self, settings: Settings) -> None:
        """Call the others to a fit; they learn its settings from `next_fit`."""
        if self.leads and self.size > 1:
            self.agree(settings)

    def next_fit(self) -> Settings | None:
        """Wait for the first member's next fit; None when there are no more."""
        found: Settings | None = self.agree(None)
        return found

    def dismiss(self) -> None:
        """Tell the others that there is no further fit."""
        if self.leads and self.size > 1:
            self.agree(None)

    def wrapped(self, network: Network) -> torch.nn.Module:
        """Return the network with its gradients averaged over the team."""
        if self.size == 1:
            return network
        import torch

        ids = [self.device.index] if self.device.type == "cuda" else None
        return torch.nn.parallel.DistributedDataParallel(network, device_ids=ids)

    def scatter_randomness(self, seed: int) -> None:
        """Let each member but the first draw noise of its own; what all must agree on comes from the first."""
        if not self.leads:
            import torch

            torch.manual_seed(seed + 1_000_003 * self.rank)

    def agree(self, value: Any) -> Any:
        """Return the first member's value to all."""
        if self.size == 1:
            return value
        import torch

        box = [value]
        torch.distributed.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def summed(self, value: torch.Tensor) -> float:
        """Return the sum of the members' values."""
        if self.size > 1:
            import torch

            value = value.clone()
            torch.distributed.all_reduce(value)
        return float(value)

    def once(self, act: Callable[[], None], progress: Progress) -> None:
        """Let the first member `act`, and the others learn how the fit's epochs went.

        What `act` raises is raised at the first; the others get Stopped.
        """
        if not self.leads:
            history: list[Epoch] | None = self.agree(None)
            if history is None:
                raise Stopped
            progress.history[:] = history
            return
        try:
            act()
        except BaseException:
            self.agree(None)
            raise
        self.agree(progress.history)


def current_team() -> Team:
    """Return the team that this process is in."""
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        rank, size = torch.distributed.get_rank(), torch.distributed.get_world_size()
        return Team(rank, size, _device(int(os.environ.get("LOCAL_RANK", "0"))))
    return Team(0, 1, _device(0))


def alone() -> Team:
    """Return a team of this process only, for a fit that the others have no part in."""
    return Team(0, 1, current_team().device)


def _device(local_rank: int) -> torch.device:
    """Return the GPU of this process if there is one, else the CPU."""
    import torch

    return torch.device("cuda", local_rank) if torch.cuda.is_available() else torch.device("cpu")


@contextmanager
def assembled() -> Iterator[Team]:
    """Join the processes that torchrun started with this one, until the block ends."""
    import torch

    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        backend = "nccl"
    torch.distributed.init_process_group(backend, timeout=LOST_AFTER)
    try:
        yield current_team()
    finally:
        torch.distributed.destroy_process_group()
