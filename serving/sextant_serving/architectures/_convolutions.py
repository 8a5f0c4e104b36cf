"""The convolutional body that `small-cnn` and `fusion` share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sextant_plan.schema import ImageInput
from sextant_serving.architectures._network import strongest

QUARTERS = 4  # outputs of each filter of the last layer
LARGE_SIDE = 32  # pixels; from here on the first layer halves the picture, which costs a quarter of the time


class Convolutions(nn.Module):
    """Three 3x3 layers with batch normalisation, then the average of each quarter of the picture."""

    def __init__(self, image: ImageInput, width: int) -> None:
        super().__init__()
        stem = 2 if min(image.height, image.width) >= LARGE_SIDE else 1
        self.layers = nn.Sequential(
            _layer(image.channels, width, stem), _layer(width, 2 * width, 2), _layer(2 * width, 4 * width, 2)
        )
        self.average = _quarters(_halved(image.height, stem), _halved(image.width, stem))
        self.outputs = 4 * width * QUARTERS

    def forward(self, pixels: Tensor) -> Tensor:
        """Return rows x `outputs` from rows x channels x height x width."""
        pooled: Tensor = self.average(self.layers(pixels))
        return pooled.flatten(1)


def slim_layers(state: dict[str, Tensor], prefix: str, width: int) -> Tensor:
    """Keep in `state` the filters with the largest weights, for a body of this width; return the outputs that stay."""
    kept: Tensor | None = None
    for layer, filters in enumerate((width, 2 * width, 4 * width)):
        weight, norm = f"{prefix}.layers.{layer}.0.weight", f"{prefix}.layers.{layer}.1"
        if kept is not None:
            state[weight] = state[weight][:, kept]
        kept = strongest(state[weight], filters)
        state[weight] = state[weight][kept]
        for name in ("weight", "bias", "running_mean", "running_var"):
            state[f"{norm}.{name}"] = state[f"{norm}.{name}"][kept]
    assert kept is not None
    return (kept[:, None] * QUARTERS + torch.arange(QUARTERS)).flatten()


def _layer(before: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, kernel_size=3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    )


def _halved(side: int, stem: int) -> int:
    """Return what the three layers leave of a side: each stride of 2 halves it, rounded up."""
    for stride in (stem, 2, 2):
        side = -(-side // stride)
    return side


def _quarters(height: int, width: int) -> nn.AvgPool2d:
    """Return the pooling to 2 x 2, its windows sharing the middle row or column of an odd side.

    It does what AdaptiveAvgPool2d(2) does, which cannot be exported to ONNX for odd sides.
    """
    tall, wide = -(-height // 2), -(-width // 2)
    return nn.AvgPool2d(kernel_size=(tall, wide), stride=(height - tall, width - wide))
