"""What every network shares: scaling inside, so that training and serving cannot differ in it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sextant_plan.schema import ImageInput

FEATURE_CLAMP = 8.0  # standard deviations; one absurd number must not drown the picture or the other columns


class Network(nn.Module):
    """A network over `image` (uint8, rows x height x width x channels) and/or `features` (float32,
    rows x columns); returns logits (float32, rows x classes), or one standardised number a row (rows x 1).
    """

    reads: tuple[str, ...]
    feature_mean: Tensor
    feature_std: Tensor
    target_mean: Tensor
    target_std: Tensor
    numeric = False  # whether it answers with a number

    def __init__(self, *, image: ImageInput | None, columns: int) -> None:
        super().__init__()
        self.reads = (("image",) if image else ()) + (("features",) if columns else ())
        if columns:
            self.register_buffer("feature_mean", torch.zeros(columns))
            self.register_buffer("feature_std", torch.ones(columns))

    def fit_scaling(self, features: Tensor) -> None:
        """Set the standardisation to that of the training rows, shape (rows, columns)."""
        if "features" in self.reads:
            deviation = features.std(dim=0, correction=0)
            self.feature_mean.copy_(features.mean(dim=0))
            self.feature_std.copy_(torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation)))

    def answer_with_a_number(self) -> None:
        """Make the one output a number in the label's unit; its scale is kept with the weights."""
        self.numeric = True
        self.register_buffer("target_mean", torch.zeros(()))
        self.register_buffer("target_std", torch.ones(()))

    def fit_target(self, middle: float, spread: float) -> None:
        """Set the scale of the number to that of the training labels."""
        self.target_mean.fill_(middle)
        self.target_std.fill_(spread)

    def answered(self, raw: Tensor) -> Tensor:
        """Return what raw outputs mean: probabilities, rows x classes, or numbers in the label's unit, rows x 1."""
        return raw * self.target_std + self.target_mean if self.numeric else torch.softmax(raw, dim=1)

    def pixels(self, image: Tensor) -> Tensor:
        """Return the picture as float32 from -1 to 1, rows x channels x height x width."""
        return image.to(torch.float32).permute(0, 3, 1, 2) / 127.5 - 1.0

    def standardised(self, features: Tensor) -> Tensor:
        """Return the features with zero mean and unit variance over the training rows, clamped."""
        return ((features - self.feature_mean) / self.feature_std).clamp(-FEATURE_CLAMP, FEATURE_CLAMP)

    def flat(self, image: Tensor | None, features: Tensor | None) -> Tensor:
        """Return whatever the network reads as one row of numbers."""
        parts = []
        if "image" in self.reads:
            assert image is not None
            parts.append(self.pixels(image).flatten(1))
        if "features" in self.reads:
            assert features is not None
            parts.append(self.standardised(features))
        return torch.cat(parts, dim=1)


class Answering(nn.Module):
    """A network with the last step to its answer, softmax or the label's scale: what is exported and served."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor | None = None, features: Tensor | None = None) -> Tensor:
        """Return probabilities, float32, rows x classes, or numbers, rows x 1."""
        return self.network.answered(self.network(image=image, features=features))


def strongest(weight: Tensor, count: int) -> Tensor:
    """Return the places, rising, of the `count` rows with the largest sums of absolute weights (Li et al. 2017)."""
    return weight.abs().flatten(1).sum(dim=1).topk(count).indices.sort().values


def flat_width(image: ImageInput | None, columns: int) -> int:
    """Return how many numbers `Network.flat` gives for one row."""
    return columns + (image.height * image.width * image.channels if image else 0)
