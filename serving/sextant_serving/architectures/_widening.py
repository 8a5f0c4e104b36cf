"""What the bodies of widening blocks share: a block widens, filters each channel by itself, and narrows again.

A block's sum ties its outputs to those of other blocks, but the channels between its two ends are its own (Sandler et
al. 2018). They can be left out together with their filter, their part of the squeeze and both sides of the rest. A
block that does not widen works on the channels of its neighbours and stays whole, as does how far the squeeze goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from torch import Tensor, nn
from torchvision.models.efficientnet import MBConv
from torchvision.models.mobilenetv3 import InvertedResidual
from torchvision.ops import SqueezeExcitation

from sextant_serving.architectures import Param
from sextant_serving.architectures._backbone import BACKBONE_PARAMS
from sextant_serving.architectures._network import strongest

WHOLE = 100
PARAMS: dict[str, Param] = {**BACKBONE_PARAMS, "inner": WHOLE}  # percent of the channels inside each block
SLIMMED = "inner"
NORM = ("weight", "bias", "running_mean", "running_var")


def narrowed(body: nn.Module, inner: int) -> nn.Module:
    """Return a whole body with `inner` percent of the channels inside each block, its new layers at random."""
    for _, parts in _widening_blocks(body) if inner != WHOLE else ():
        widening, filtering, *squeezing, narrowing = parts
        channels = max(1, widening[0].out_channels * inner // WHOLE)
        widening[0] = _like(widening[0], outputs=channels)
        filtering[0] = _like(filtering[0], inputs=channels, outputs=channels, groups=channels)
        for part in (widening, filtering):
            part[1] = nn.BatchNorm2d(channels, eps=part[1].eps, momentum=part[1].momentum)
        for squeeze in squeezing:
            assert isinstance(squeeze, SqueezeExcitation)
            squeeze.fc1, squeeze.fc2 = _like(squeeze.fc1, inputs=channels), _like(squeeze.fc2, outputs=channels)
        narrowing[0] = _like(narrowing[0], inputs=channels)
    return body


def slim_blocks(state: dict[str, Tensor], body: nn.Module) -> dict[str, Tensor]:
    """Return the weights of a network with a wider body that the narrowed one keeps: the largest inside each block."""
    for name, parts in _widening_blocks(body):
        block, last = f"body.{name}.block", len(parts) - 1
        kept = strongest(state[f"{block}.0.0.weight"], parts[0][0].out_channels)
        rows = [f"{block}.{part}.0.weight" for part in (0, 1)]
        rows += [f"{block}.{part}.1.{each}" for part in (0, 1) for each in NORM]
        columns = [f"{block}.{last}.0.weight"]
        for squeeze in range(2, last):
            rows += [f"{block}.{squeeze}.fc2.{each}" for each in ("weight", "bias")]
            columns.append(f"{block}.{squeeze}.fc1.weight")
        state |= {key: state[key][kept] for key in rows} | {key: state[key][:, kept] for key in columns}
    return state


def _widening_blocks(body: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the name of each block that widens, and the sequence of its parts."""
    for name, module in body.named_modules():
        if isinstance(module, MBConv | InvertedResidual) and cast("Any", module.block)[0][0].kernel_size == (1, 1):
            yield name, module.block


def _like(layer: nn.Conv2d, *, inputs: int | None = None, outputs: int | None = None, groups: int = 1) -> nn.Conv2d:
    """Return a layer of the same kernel with other channels and random weights."""
    sizes = {name: getattr(layer, name) for name in ("kernel_size", "stride", "padding", "dilation")}
    inputs, outputs = inputs or layer.in_channels, outputs or layer.out_channels
    return nn.Conv2d(inputs, outputs, groups=groups, bias=layer.bias is not None, **sizes)
