"""Checkpoints of a fit after each epoch, so that a step that was killed goes on where it was, to the same weights."""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sextant_components.tensors import Examples
from sextant_plan.canonical import digest_of
from sextant_plan.errors import InfrastructureError
from sextant_plan.schema import Closed

if TYPE_CHECKING:
    import torch


class Epoch(Closed):
    """One pass over the training rows; losses in nats."""

    train_loss: float
    valid_loss: float
    valid_accuracy: float


@dataclass
class Progress:
    """How far a fit is: its epochs, and rank, weights and validation probabilities of the best of them."""

    history: list[Epoch] = field(default_factory=list)
    best: tuple[tuple[float, float], dict[str, torch.Tensor], NDArray[np.float32]] | None = None


def checkpoint_file(folder: Path, described: object, *splits: Examples) -> Path:
    """Return the file of one fit: its name is a digest of the settings, torch's version and every row."""
    import torch

    rows = hashlib.sha256()
    for examples in splits:
        for array in (examples.labels, *(examples.inputs[name] for name in sorted(examples.inputs))):
            rows.update(f"{array.dtype}{array.shape}".encode())
            rows.update(np.ascontiguousarray(array).data)
    key = digest_of({"fit": described, "torch": torch.__version__, "rows": rows.hexdigest()})
    return folder / f"{key.removeprefix('sha256:')}.pt"


def save_checkpoint(path: Path, progress: Progress, parts: dict[str, Any]) -> None:
    """Write the state of `parts` (network, optimiser, schedule), of torch's generator and of the progress.

    The file is whole or absent: it is written beside and renamed.
    """
    import torch

    assert progress.best is not None
    rank, weights, probabilities = progress.best
    state = {
        "parts": {name: part.state_dict() for name, part in parts.items()},
        "generator": torch.get_rng_state(),
        "history": [epoch.model_dump() for epoch in progress.history],
        "best": {"rank": rank, "weights": weights, "probabilities": torch.from_numpy(probabilities)},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def restore_checkpoint(path: Path, parts: dict[str, Any]) -> Progress:
    """Put `parts` and torch's generator in the state of the last checkpoint; without one change nothing.

    Only tensors and plain values are read. Raises InfrastructureError for a file that is damaged.
    """
    import torch

    if not path.exists():
        return Progress()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise InfrastructureError(f"{path}: a damaged checkpoint. Delete it and run the train step again.") from error
    for name, part in parts.items():
        part.load_state_dict(state["parts"][name])
    torch.set_rng_state(state["generator"])
    best = state["best"]
    history = [Epoch.model_validate(epoch) for epoch in state["history"]]
    return Progress(history, (tuple(best["rank"]), best["weights"], best["probabilities"].numpy()))
