"""The candidates, one file each: the same code builds them for training and for serving.

A file `small_cnn.py` is the architecture `small-cnn`. It defines `NEEDS`, the inputs that it cannot do
without, as a plain tuple of `image` and `features`; `PARAMS`, its parameters with their defaults; and, for a
network, `build(params, *, image, columns, classes)`. One whose hidden units can be left out also has `SLIMMED`, the
parameter that counts them, and `slim(state, count, params)`. Files whose name begins with an underscore are helpers.
Importing this package costs nothing; torch is loaded with the first network that is built.
"""

from __future__ import annotations

import ast
import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sextant_plan.errors import UsageError
from sextant_plan.schema import ImageInput

if TYPE_CHECKING:
    from torch import Tensor

    from sextant_serving.architectures._network import Answering, Network

__all__ = [
    "GRADIENT_BOOSTING",
    "Answering",
    "ArchitectureMisfit",
    "Network",
    "as_begun",
    "build",
    "complete",
    "names",
    "needs",
    "slim",
]

GRADIENT_BOOSTING = "gradient-boosting"  # the one architecture that is no network: LightGBM fits and serves it

Param = int | float | str | bool


class ArchitectureMisfit(UsageError):
    """An architecture that does not exist, or that cannot take the plan's parameters or inputs."""

    def __init__(self, name: str, problem: str, remedy: str) -> None:
        super().__init__(f"model.candidates: {name}: {problem}. {remedy}")


def names() -> list[str]:
    """Return the architectures that a plan may name, sorted; imports none of them."""
    found = (module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
    return sorted(name.replace("_", "-") for name in found)


@cache
def needs() -> dict[str, tuple[str, ...]]:
    """Return the inputs that each architecture cannot do without, by name.

    They are read from the source, because importing a network loads torch, which a check of a plan cannot wait for.
    """
    return {name: _declared_needs(Path(__path__[0]) / f"{_module_name(name)}.py") for name in names()}


def _declared_needs(source: Path) -> tuple[str, ...]:
    for statement in ast.parse(source.read_text(encoding="utf-8")).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="NEEDS")], value=value):
                return tuple(ast.literal_eval(value))
    raise ValueError(f"{source}: an architecture declares NEEDS, such as NEEDS = ('image',).")


def complete(name: str, params: Mapping[str, Param]) -> dict[str, Param]:
    """Return a plan's parameters with the architecture's defaults. Raises ArchitectureMisfit for unknown ones."""
    defaults: dict[str, Param] = _module(name).PARAMS
    if unknown := sorted(params.keys() - defaults.keys()):
        raise ArchitectureMisfit(
            name, f"no parameter named {', '.join(unknown)}", f"It takes {', '.join(sorted(defaults)) or 'none'}."
        )
    return {**defaults, **params}


def build(name: str, params: Mapping[str, Param], *, image: ImageInput | None, columns: int, classes: int) -> Network:
    """Build an untrained network on the CPU.

    `columns` is the width of the `features` tensor (0 without one), `classes` that of the logits; without classes
    the network answers with a number. Its `reads` names the inputs it takes. Raises ArchitectureMisfit.
    """
    module = _module(name)
    given = {"image": image is not None, "features": columns > 0}
    if missing := [need for need in module.NEEDS if not given[need]]:
        without = (other for other, required in needs().items() if all(given[need] for need in required))
        raise ArchitectureMisfit(
            name, f"it reads {' and '.join(missing)}, which the model lacks", f"Choose one of {', '.join(without)}."
        )
    network: Network = module.build(complete(name, params), image=image, columns=columns, classes=max(classes, 1))
    if classes == 0:
        network.answer_with_a_number()
    return network


def slim(
    name: str, network: Network, params: Mapping[str, Param], *, share: float
) -> tuple[dict[str, Param], dict[str, Tensor]] | None:
    """Return the parameters and weights of a network with `share` of its hidden units left out, the weakest first.

    None for an architecture that has no units to leave out, or where fewer than one would stay.
    """
    module = _module(name)
    if not hasattr(module, "SLIMMED"):
        return None
    whole = complete(name, params)
    units = module.units(whole) if hasattr(module, "units") else int(whole[module.SLIMMED])
    count = int(units * (1 - share))
    if count < 1:
        return None
    state = {key: tensor.detach().clone() for key, tensor in network.state_dict().items()}
    return {**params, module.SLIMMED: count}, module.slim(state, count, whole)


def as_begun(name: str, params: Mapping[str, Param]) -> dict[str, Param]:
    """Return parameters with which a network can be fitted anew, from the weights that they name if they name any.

    Those fit the whole network alone, so that what `slim` left out is put back.
    """
    slimmed = getattr(_module(name), "SLIMMED", None)
    return {key: value for key, value in params.items() if not (params.get("weights") and key == slimmed)}


def _module(name: str) -> ModuleType:
    if name not in names():
        raise ArchitectureMisfit(name, "no such architecture", f"Choose one of {', '.join(names())}.")
    return import_module(f"{__name__}.{_module_name(name)}")


def _module_name(name: str) -> str:
    return name.replace("-", "_")


def __getattr__(name: str) -> Any:
    if name in {"Network", "Answering"}:
        return getattr(import_module(f"{__name__}._network"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
