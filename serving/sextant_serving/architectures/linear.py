"""Multinomial logistic regression over every pixel and column: the simplest thing that learns."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from sextant_plan.schema import ImageInput
from sextant_serving.architectures import Param
from sextant_serving.architectures._network import Network, flat_width

NEEDS = ()
PARAMS: dict[str, Param] = {}


class Linear(Network):
    """One affine layer."""

    def __init__(self, *, image: ImageInput | None, columns: int, classes: int) -> None:
        super().__init__(image=image, columns=columns)
        self.head = nn.Linear(flat_width(image, columns), classes)

    def forward(self, image: Tensor | None = None, features: Tensor | None = None) -> Tensor:
        """Return logits, rows x classes."""
        logits: Tensor = self.head(self.flat(image, features))
        return logits


def build(params: Mapping[str, Param], *, image: ImageInput | None, columns: int, classes: int) -> Network:  # noqa: ARG001
    """Build it; it has no parameters."""
    return Linear(image=image, columns=columns, classes=classes)
