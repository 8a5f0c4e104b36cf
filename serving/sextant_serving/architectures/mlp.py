"""A multilayer perceptron over every pixel and column."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from torch import Tensor, nn

from sextant_plan.schema import ImageInput
from sextant_serving.architectures import Param
from sextant_serving.architectures._network import Network, flat_width, strongest

NEEDS = ()
PARAMS: dict[str, Param] = {"hidden": 64, "layers": 2, "dropout": 0.0}


class Perceptron(Network):
    """`layers` hidden layers of `hidden` units with ReLU."""

    def __init__(
        self, *, hidden: int, layers: int, dropout: float, image: ImageInput | None, columns: int, classes: int
    ) -> None:
        super().__init__(image=image, columns=columns)
        widths = [flat_width(image, columns)] + [hidden] * layers
        self.body = nn.Sequential(
            *(
                nn.Sequential(nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout))
                for before, after in pairwise(widths)
            )
        )
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, image: Tensor | None = None, features: Tensor | None = None) -> Tensor:
        """Return logits, rows x classes."""
        logits: Tensor = self.head(self.body(self.flat(image, features)))
        return logits


SLIMMED = "hidden"


def slim(state: dict[str, Tensor], units: int, params: Mapping[str, Param]) -> dict[str, Tensor]:
    """Return the weights of the same network with so many units a layer, those with the largest weights."""
    kept: Tensor | None = None
    for layer in range(int(params["layers"])):
        weight, bias = f"body.{layer}.0.weight", f"body.{layer}.0.bias"
        if kept is not None:
            state[weight] = state[weight][:, kept]
        kept = strongest(state[weight], units)
        state[weight], state[bias] = state[weight][kept], state[bias][kept]
    if kept is not None:
        state["head.weight"] = state["head.weight"][:, kept]
    return state


def build(params: Mapping[str, Param], *, image: ImageInput | None, columns: int, classes: int) -> Network:
    """Build it from `hidden` (units), `layers` and `dropout` (share)."""
    return Perceptron(
        hidden=int(params["hidden"]),
        layers=int(params["layers"]),
        dropout=float(params["dropout"]),
        image=image,
        columns=columns,
        classes=classes,
    )
