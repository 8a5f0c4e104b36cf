"""Checkpoints of a fit, so that a step that was killed goes on where it was, to the same weights."""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sextant_components.modelling.tensors import Examples
from sextant_plan.canonical import digest_of
from sextant_plan.errors import InfrastructureError
from sextant_plan.files import replacing
from sextant_plan.schema import Closed

if TYPE_CHECKING:
    import torch


class Epoch(Closed):
    """One pass over the training rows; losses and score are the objective's (`objectives.Objective`)."""

    train_loss: float
    valid_loss: float
    valid_score: float


@dataclass(frozen=True)
class Best:
    """The best epoch so far: its figures, its weights on the CPU, and its answers to the validation rows."""

    score: float
    loss: float
    weights: dict[str, torch.Tensor]
    outputs: NDArray[np.float32]


@dataclass
class Progress:
    """How far a fit is: its whole epochs, the best of them, and the steps and losses of the one it is in.

    `order` is that epoch's order of the rows, None between two epochs.
    """

    history: list[Epoch] = field(default_factory=list)
    best: Best | None = None
    order: torch.Tensor | None = None
    steps: int = 0
    loss_sum: float = 0.0


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
    """Write the state of `parts` (network, optimiser, schedule), of torch's generators and of the progress.

    The file is whole or absent: it is written beside and renamed.
    """
    import torch

    best = progress.best
    state = {
        "parts": {name: part.state_dict() for name, part in parts.items()},
        "generator": torch.get_rng_state(),
        "gpu_generators": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "history": [epoch.model_dump() for epoch in progress.history],
        "order": progress.order,
        "steps": progress.steps,
        "loss_sum": progress.loss_sum,
        "best": None if best is None else {**vars(best), "outputs": torch.from_numpy(best.outputs)},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        torch.save(state, partial)


def restore_checkpoint(path: Path, parts: dict[str, Any], device: torch.device) -> Progress:
    """Put `parts` and torch's generators in the state of the last checkpoint; without one change nothing.

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
    if device.type == "cuda" and len(state["gpu_generators"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["gpu_generators"])
    best = state["best"]
    return Progress(
        history=[Epoch.model_validate(epoch) for epoch in state["history"]],
        best=None if best is None else Best(**{**best, "outputs": best["outputs"].numpy()}),
        order=state["order"],
        steps=state["steps"],
        loss_sum=state["loss_sum"],
    )
