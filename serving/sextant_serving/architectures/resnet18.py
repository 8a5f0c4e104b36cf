"""ResNet-18 (He et al. 2016) of torchvision, 11 million numbers.

It starts from scratch, or from weights beside the plan. A block's sum ties its outputs to those of other blocks, but
the channels between its two convolutions are its own: those can be left out.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torchvision.models import ResNet, resnet18
from torchvision.models.resnet import BasicBlock

from sextant_plan.schema import ImageInput
from sextant_serving.architectures import Param
from sextant_serving.architectures._backbone import BACKBONE_PARAMS, Backbone
from sextant_serving.architectures._network import strongest

NEEDS = ("image",)
INNER = 64  # channels inside a block of the first stage; each later stage has twice those of the one before
STAGES = ("layer1", "layer2", "layer3", "layer4")
PARAMS: dict[str, Param] = {**BACKBONE_PARAMS, "inner": INNER}
SLIMMED = "inner"


def slim(state: dict[str, Tensor], inner: int, params: Mapping[str, Param]) -> dict[str, Tensor]:  # noqa: ARG001
    """Return the weights with so many channels inside a block of the first stage, those with the largest weights."""
    for stage, name in enumerate(STAGES):
        blocks = sorted({key.split(".")[2] for key in state if key.startswith(f"body.{name}.")})
        for block in (f"body.{name}.{number}" for number in blocks):
            kept = strongest(state[f"{block}.conv1.weight"], inner << stage)
            state[f"{block}.conv1.weight"] = state[f"{block}.conv1.weight"][kept]
            for part in ("weight", "bias", "running_mean", "running_var"):
                state[f"{block}.bn1.{part}"] = state[f"{block}.bn1.{part}"][kept]
            state[f"{block}.conv2.weight"] = state[f"{block}.conv2.weight"][:, kept]
    return state


def build(params: Mapping[str, Param], *, image: ImageInput | None, columns: int, classes: int) -> Backbone:
    """Build it from `inner` (channels inside the first blocks) and `dropout` (share) before the head.

    It needs an image and reads columns where there are any.
    """
    assert image is not None
    body = resnet18(weights=None)
    if int(params["inner"]) != INNER:
        _narrow(body, int(params["inner"]))
    return Backbone(body, replaced="fc", params=params, image=image, columns=columns, classes=classes)


def _narrow(body: ResNet, inner: int) -> None:
    """Give every block so many channels between its convolutions as `slim` leaves."""
    for stage, name in enumerate(STAGES):
        for block in getattr(body, name):
            assert isinstance(block, BasicBlock)
            first, second, channels = block.conv1, block.conv2, inner << stage
            block.conv1 = nn.Conv2d(first.in_channels, channels, 3, first.stride, padding=1, bias=False)
            block.bn1 = nn.BatchNorm2d(channels)
            block.conv2 = nn.Conv2d(channels, second.out_channels, 3, padding=1, bias=False)
