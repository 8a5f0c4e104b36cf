"""Small changes of an input that are chosen against a network: FGSM (Goodfellow et al. 2015), PGD (Madry et al. 2018).

The gradients are the trained network's; what they find is then asked of the engine that is served.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sextant_components.modelling.tensors import Examples, Inputs, batches
from sextant_plan.schema import Attack

if TYPE_CHECKING:
    from torch import Tensor

    from sextant_serving.architectures import Network

BATCH_ROWS = 64
REACH = 2.5  # of the way that all steps together could go, as multiple of the allowed change


def fgsm(network: Network, examples: Examples, attack: Attack) -> Inputs:
    """Return the inputs after one step of the full allowed change along the sign of the loss's gradient."""
    return _attacked(network, examples, attack, steps=1, step=1.0)


def pgd(network: Network, examples: Examples, attack: Attack) -> Inputs:
    """Return the inputs after `attack.steps` smaller steps, each brought back into the allowed change."""
    return _attacked(network, examples, attack, steps=attack.steps, step=REACH / attack.steps)


def _attacked(network: Network, examples: Examples, attack: Attack, *, steps: int, step: float) -> Inputs:
    pieces = zip(batches(examples.inputs, BATCH_ROWS), batches({"labels": examples.labels}, BATCH_ROWS), strict=True)
    found = [_climb(network, inputs, labels["labels"], attack, steps=steps, step=step) for inputs, labels in pieces]
    return {name: np.concatenate([piece[name] for piece in found]) for name in examples.inputs}


def _climb(network: Network, inputs: Inputs, labels: object, attack: Attack, *, steps: int, step: float) -> Inputs:
    import torch

    network.eval()
    targets = torch.as_tensor(labels)
    start = {name: torch.from_numpy(inputs[name]).to(torch.float32) for name in network.reads}
    allowed = _allowed(network, attack)
    now = {name: tensor.clone() for name, tensor in start.items()}
    for _ in range(steps):
        for name, slope in zip(now, _slopes(network, now, targets), strict=True):
            moved = now[name] + step * allowed[name] * slope.sign()
            now[name] = torch.clamp(moved, start[name] - allowed[name], start[name] + allowed[name])
            if name == "image":
                now[name] = now[name].clamp(0, 255)
    return {name: _as_sent(name, tensor, inputs[name].dtype) for name, tensor in now.items()} | {
        name: inputs[name] for name in inputs if name not in now
    }


def _slopes(network: Network, now: dict[str, Tensor], targets: Tensor) -> Iterable[Tensor]:
    import torch

    leaves = {name: tensor.detach().requires_grad_() for name, tensor in now.items()}
    loss = torch.nn.functional.cross_entropy(network(**leaves), targets)
    return torch.autograd.grad(loss, list(leaves.values()))


def _allowed(network: Network, attack: Attack) -> dict[str, Tensor | float]:
    """Return the largest change of each input; a picture's in whole grey levels, so that rounding keeps within it."""
    allowed: dict[str, Tensor | float] = {}
    if "image" in network.reads:
        allowed["image"] = float(attack.pixels)
    if "features" in network.reads:
        allowed["features"] = attack.deviations * network.feature_std
    return allowed


def _as_sent(name: str, tensor: Tensor, dtype: np.dtype[Any]) -> NDArray[Any]:
    array = tensor.detach().numpy()
    return np.rint(array).astype(dtype) if name == "image" else array.astype(dtype)
