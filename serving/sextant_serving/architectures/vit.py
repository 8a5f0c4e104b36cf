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

NEEDS = ("image",)
PARAMS: dict[str, Param] = {**BACKBONE_PARAMS, "side": 32, "patch": 8, "layers": 4, "heads": 4, "width": 128}
WIDENING = 4  # of the perceptron in each layer, as in the paper


class Vit(Backbone):
    """A transformer over the patches of the picture, which is scaled to a square first."""

    side: int

    def pixels(self, image: Tensor) -> Tensor:
        """Return the picture as the other backbones take it, `side` pixels high and wide."""
        pixels, square = super().pixels(image), (self.side, self.side)
        return torch.nn.functional.interpolate(pixels, size=square, mode="bilinear", align_corners=False)


def build(params: Mapping[str, Param], *, image: ImageInput | None, columns: int, classes: int) -> Backbone:
    """Build it from `side` and `patch` (pixels), `layers`, `heads`, `width` and `dropout` before the head.

    It needs an image and reads columns where there are any. Raises ArchitectureMisfit for sizes that do not divide.
    """
    assert image is not None
    side, patch, heads, width = (int(params[name]) for name in ("side", "patch", "heads", "width"))
    for whole, part, names in ((side, patch, "side and patch"), (width, heads, "width and heads")):
        if whole % part:
            problem = f"{whole} is not divided by {part}"
            raise ArchitectureMisfit("vit", problem, f"Change {names} of its parameters.")
    body = VisionTransformer(side, patch, int(params["layers"]), heads, width, WIDENING * width)
    network = Vit(body, replaced="heads", params=params, image=image, columns=columns, classes=classes)
    network.side = side
    return network
