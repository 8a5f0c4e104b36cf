"""A small convolutional network over the picture alone; it does not read columns."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from sextant_plan.schema import ImageInput
from sextant_serving.architectures import Param
from sextant_serving.architectures._convolutions import Convolutions, slim_layers
from sextant_serving.architectures._network import Network

NEEDS = ("image",)
PARAMS: dict[str, Param] = {"width": 16, "dropout": 0.0}


class SmallCnn(Network):
    """Convolutions and one affine layer."""

    def __init__(self, *, width: int, dropout: float, image: ImageInput, classes: int) -> None:
        super().__init__(image=image, columns=0)
        self.body = Convolutions(image, width)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(self.body.outputs, classes))

    def forward(self, image: Tensor | None = None, features: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Return logits, rows x classes."""
        assert image is not None
        logits: Tensor = self.head(self.body(self.pixels(image)))
        return logits


SLIMMED = "width"


def slim(state: dict[str, Tensor], width: int, params: Mapping[str, Param]) -> dict[str, Tensor]:  # noqa: ARG001
    """Return the weights of the same network of this width, the filters with the largest weights."""
    outputs = slim_layers(state, "body", width)
    state["head.1.weight"] = state["head.1.weight"][:, outputs]
    return state


def build(params: Mapping[str, Param], *, image: ImageInput | None, columns: int, classes: int) -> Network:  # noqa: ARG001
    """Build it from `width` (channels of the first layer) and `dropout` (share); it needs an image."""
    assert image is not None
    return SmallCnn(width=int(params["width"]), dropout=float(params["dropout"]), image=image, classes=classes)
