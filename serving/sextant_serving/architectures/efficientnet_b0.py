"""EfficientNet-B0 (Tan and Le 2019) of torchvision, 4 million numbers.

It starts from scratch, or from weights beside the plan.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torchvision.models import efficientnet_b0

from sextant_plan.schema import ImageInput
from sextant_serving.architectures import Param
from sextant_serving.architectures._backbone import Backbone
from sextant_serving.architectures._widening import PARAMS, SLIMMED, narrowed, slim_blocks

__all__ = ["NEEDS", "PARAMS", "SLIMMED", "build", "slim"]

NEEDS = ("image",)


def slim(state: dict[str, Tensor], inner: int, params: Mapping[str, Param]) -> dict[str, Tensor]:  # noqa: ARG001
    """Return the weights with `inner` percent of the channels inside each block, those with the largest weights."""
    with torch.device("meta"):  # for its shapes alone
        return slim_blocks(state, narrowed(efficientnet_b0(weights=None), inner))


def build(params: Mapping[str, Param], *, image: ImageInput | None, columns: int, classes: int) -> Backbone:
    """Build it from `inner` (percent of the channels inside a block) and `dropout` (share) before the head.

    It needs an image and reads columns where there are any.
    """
    assert image is not None
    body = narrowed(efficientnet_b0(weights=None), int(params["inner"]))
    return Backbone(body, replaced="classifier", params=params, image=image, columns=columns, classes=classes)
