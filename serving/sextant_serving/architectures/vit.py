"""A vision transformer (Dosovitskiy et al. 2021) of torchvision; by default a small one that can start from scratch.

ViT-B/16, with weights beside the plan, is {side: 224, patch: 16, layers: 12, heads: 12, width: 768}.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torchvision.models import VisionTransformer

from sextant_plan.schema import ImageInput
from sextant_serving.architectures import ArchitectureMisfit, Param
from sextant_serving.architectures._backbone import BACKBONE_PARAMS, Backbone
from sextant_serving.architectures._network import strongest

NEEDS = ("image",)
PARAMS: dict[str, Param] = {
    **BACKBONE_PARAMS, "side": 32, "patch": 8, "layers": 4, "heads": 4, "width": 128, "hidden": 0
}  # fmt: skip
PARTS = ("weight", "bias")
WIDENING = 4  # of the perceptron in each layer, as in the paper, where `hidden` is 0
SLIMMED = "hidden"


def units(params: Mapping[str, Param]) -> int:
    """Return how many units the perceptron in each layer has."""
    return int(params["hidden"]) or WIDENING * int(params["width"])


def slim(state: dict[str, Tensor], hidden: int, params: Mapping[str, Param]) -> dict[str, Tensor]:
    """Return the weights with so many units in each layer's perceptron, those with the largest weights."""
    for layer in range(int(params["layers"])):
        before, after = (f"body.encoder.layers.encoder_layer_{layer}.mlp.{place}" for place in (0, 3))
        kept = strongest(state[f"{before}.weight"], hidden)
        state[f"{before}.weight"], state[f"{before}.bias"] = (state[f"{before}.{part}"][kept] for part in PARTS)
        state[f"{after}.weight"] = state[f"{after}.weight"][:, kept]
    return state


class Vit(Backbone):
    """A transformer over the patches of the picture, which is scaled to a square first."""

    side: int

    def pixels(self, image: Tensor) -> Tensor:
        """Return the picture as the other backbones take it, `side` pixels high and wide."""
        pixels, square = super().pixels(image), (self.side, self.side)
        return torch.nn.functional.interpolate(pixels, size=square, mode="bilinear", align_corners=False)


def build(params: Mapping[str, Param], *, image: ImageInput | None, columns: int, classes: int) -> Backbone:
    """Build it from `side` and `patch` (pixels), `layers`, `heads`, `width`, `hidden` and `dropout` before the head.

    It needs an image and reads columns where there are any. Raises ArchitectureMisfit for sizes that do not divide.
    """
    assert image is not None
    side, patch, heads, width = (int(params[name]) for name in ("side", "patch", "heads", "width"))
    for whole, part, names in ((side, patch, "side and patch"), (width, heads, "width and heads")):
        if whole % part:
            problem = f"{whole} is not divided by {part}"
            raise ArchitectureMisfit("vit", problem, f"Change {names} of its parameters.")
    body = VisionTransformer(side, patch, int(params["layers"]), heads, width, units(params))
    network = Vit(body, replaced="heads", params=params, image=image, columns=columns, classes=classes)
    network.side = side
    return network
