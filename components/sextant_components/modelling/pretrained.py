"""Weights that a candidate starts from: a file that the plan names with its digest; nothing is downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sextant_plan.canonical import digest_of_file
from sextant_serving.architectures import ArchitectureMisfit, Network, Param

if TYPE_CHECKING:
    import torch


def load_pretrained(network: Network, name: str, params: Mapping[str, Param], plan_dir: Path) -> None:
    """Fill the body of a backbone from `params["weights"]`, if it names a file; the head keeps its random start.

    The path is relative to the plan. Safetensors is read as such, anything else as a state dict in which torch
    accepts tensors alone. Raises ArchitectureMisfit if the file is absent, differs from `weights_sha256`, or does
    not hold this body's weights.
    """
    from sextant_serving.architectures._backbone import Backbone

    if not params.get("weights") or not isinstance(network, Backbone):
        return
    path = plan_dir / str(params["weights"])
    _check_digest(path, name, str(params.get("weights_sha256", "")))
    given = _read(path, name)
    weights = {key: tensor for key, tensor in given.items() if not key.startswith(f"{network.replaced}.")}
    try:
        network.body.load_state_dict(weights)
    except RuntimeError as error:
        raise ArchitectureMisfit(
            name, f"{path} holds other tensors", f"Give a state dict of torchvision's {name.replace('-', '_')}."
        ) from error


def _check_digest(path: Path, name: str, expected: str) -> None:
    try:
        found = digest_of_file(path).removeprefix("sha256:")
    except OSError as error:
        raise ArchitectureMisfit(
            name, f"no weights can be read at {path}", "Put the file there; `weights` is relative to the plan."
        ) from error
    if found != expected.removeprefix("sha256:"):
        raise ArchitectureMisfit(
            name,
            f"{path} has the SHA-256 {found}, weights_sha256 says {expected or 'nothing'}",
            "Compare it with the one its publisher gives, then write that.",
        )


def _read(path: Path, name: str) -> dict[str, torch.Tensor]:
    import pickle

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(str(path))
        found: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        return found
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ArchitectureMisfit(
            name, f"{path} is no file of weights", "Save it as safetensors, or as a state dict of tensors alone."
        ) from error
