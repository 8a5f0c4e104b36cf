"""MobileNetV3-Small (Howard et al. 2019) of torchvision, 1 million numbers, made for small processors.

It starts from scratch, or from weights beside the plan.
"""

from __future__ import annotations

from collections.abc import Mapping

from torchvision.models import mobilenet_v3_small

from sextant_plan.schema import ImageInput
from sextant_serving.architectures import Param
from sextant_serving.architectures._backbone import BACKBONE_PARAMS, Backbone

NEEDS = ("image",)
PARAMS = BACKBONE_PARAMS


def build(params: Mapping[str, Param], *, image: ImageInput | None, columns: int, classes: int) -> Backbone:
    """Build it from `dropout` (share) before the head; it needs an image and reads columns where there are any."""
    assert image is not None
    body = mobilenet_v3_small(weights=None)
    return Backbone(body, replaced="classifier", params=params, image=image, columns=columns, classes=classes)
