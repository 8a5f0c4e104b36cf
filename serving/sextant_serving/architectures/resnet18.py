"""ResNet-18 (He et al. 2016) of torchvision, 11 million numbers.

It starts from scratch, or from weights beside the plan.
"""

from __future__ import annotations

from collections.abc import Mapping

from torchvision.models import resnet18

from sextant_plan.schema import ImageInput
from sextant_serving.architectures import Param
from sextant_serving.architectures._backbone import BACKBONE_PARAMS, Backbone

NEEDS = ("image",)
PARAMS = BACKBONE_PARAMS


def build(params: Mapping[str, Param], *, image: ImageInput | None, columns: int, classes: int) -> Backbone:
    """Build it from `dropout` (share) before the head; it needs an image and reads columns where there are any."""
    assert image is not None
    body = resnet18(weights=None)
    return Backbone(body, replaced="fc", params=params, image=image, columns=columns, classes=classes)
