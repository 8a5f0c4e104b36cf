"""The networks, one file each: the same code builds them for training and for serving.

A file `small_cnn.py` is the architecture `small-cnn`. It defines `PARAMS`, its parameters with their
defaults, and `build(params, *, image, columns, classes)`. Files whose name begins with an underscore are
helpers. Importing this package costs nothing; torch is loaded with the first network that is built.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from sextant_plan.errors import UsageError
from sextant_plan.schema import ImageInput

if TYPE_CHECKING:
    from sextant_serving.architectures._network import Network, Probabilities

__all__ = ["ArchitectureMisfit", "Network", "Probabilities", "build", "names"]

Param = int | float | str | bool


class ArchitectureMisfit(UsageError):
    """An architecture that does not exist, or that cannot take the plan's parameters or inputs."""

    def __init__(self, name: str, problem: str, remedy: str) -> None:
        super().__init__(f"model.candidates: {name}: {problem}. {remedy}")


def names() -> list[str]:
    """Return the architectures that a plan may name, sorted; imports none of them."""
    found = (module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
    return sorted(name.replace("_", "-") for name in found)


def build(name: str, params: Mapping[str, Param], *, image: ImageInput | None, columns: int, classes: int) -> Network:
    """Build an untrained network on the CPU.

    `columns` is the width of the `features` tensor (0 without one), `classes` that of the logits. The
    network's `reads` names the inputs it takes. Raises ArchitectureMisfit.
    """
    if name not in names():
        raise ArchitectureMisfit(name, "no such architecture", f"Choose one of {', '.join(names())}.")
    module = import_module(f"{__name__}.{name.replace('-', '_')}")
    defaults: dict[str, Param] = module.PARAMS
    if unknown := sorted(params.keys() - defaults.keys()):
        raise ArchitectureMisfit(
            name, f"no parameter named {', '.join(unknown)}", f"It takes {', '.join(sorted(defaults)) or 'none'}."
        )
    network: Network = module.build({**defaults, **params}, image=image, columns=columns, classes=classes)
    return network


def __getattr__(name: str) -> Any:
    if name in {"Network", "Probabilities"}:
        return getattr(import_module(f"{__name__}._network"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
