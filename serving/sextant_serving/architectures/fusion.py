"""A convolutional network over the picture joined with a perceptron over the columns."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sextant_plan.schema import ImageInput
from sextant_serving.architectures import Param
from sextant_serving.architectures._convolutions import Convolutions, slim_layers
from sextant_serving.architectures._network import Network

NEEDS = ("image", "features")
PARAMS: dict[str, Param] = {"width": 16, "hidden": 32, "dropout": 0.0}


class Fusion(Network):
    """The two bodies side by side; a hidden layer mixes them."""

    def __init__(
        self, *, width: int, hidden: int, dropout: float, image: ImageInput, columns: int, classes: int
    ) -> None:
        super().__init__(image=image, columns=columns)
        self.picture = Convolutions(image, width)
        self.table = nn.Sequential(nn.Linear(columns, hidden), nn.ReLU())
        self.head = nn.Sequential(
            nn.Linear(self.picture.outputs + hidden, 2 * hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(2 * hidden, classes),
        )

    def forward(self, image: Tensor | None = None, features: Tensor | None = None) -> Tensor:
        """Return logits, rows x classes."""
        assert image is not None
        assert features is not None
        picture, table = self.picture(self.pixels(image)), self.table(self.standardised(features))
        logits: Tensor = self.head(torch.cat([picture, table], dim=1))
        return logits


SLIMMED = "width"


def slim(state: dict[str, Tensor], width: int, params: Mapping[str, Param]) -> dict[str, Tensor]:
    """Return the weights with a picture body of this width, the filters with the largest weights."""
    outputs = slim_layers(state, "picture", width)
    before = state["head.0.weight"].shape[1] - int(params["hidden"])
    columns = torch.arange(before, before + int(params["hidden"]))
    state["head.0.weight"] = state["head.0.weight"][:, torch.cat([outputs, columns])]
    return state


def build(params: Mapping[str, Param], *, image: ImageInput | None, columns: int, classes: int) -> Network:
    """Build it from `width` (channels), `hidden` (units) and `dropout` (share); it needs image and columns."""
    assert image is not None
    return Fusion(
        width=int(params["width"]),
        hidden=int(params["hidden"]),
        dropout=float(params["dropout"]),
        image=image,
        columns=columns,
        classes=classes,
    )
