"""Several networks of one architecture as one, so that gradients can be taken of what they answer together."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import torch
from torch import Tensor, nn

from sextant_serving.architectures._network import Network


class Averaged(Network):
    """Answers with the mean of its members' answers, as the engines do with the members of a bundle."""

    members: nn.ModuleList

    def __init__(self, members: Sequence[Network]) -> None:
        first = members[0]
        super().__init__(image=None, columns=len(first.feature_mean) if "features" in first.reads else 0)
        self.reads = first.reads
        self.members = nn.ModuleList(members)
        if "features" in self.reads:
            self.feature_mean.copy_(first.feature_mean)
            self.feature_std.copy_(first.feature_std)
        if first.numeric:
            self.answer_with_a_number()
            self.fit_target(float(first.target_mean), float(first.target_std))

    def forward(self, image: Tensor | None = None, features: Tensor | None = None) -> Tensor:
        """Return what `answered` makes the mean answer of: the mean number, or the logarithm of mean probabilities."""
        raw = torch.stack([member(image=image, features=features) for member in self.members])
        if self.numeric:  # all members were scaled to the same training labels
            return raw.mean(dim=0)
        return torch.logsumexp(torch.log_softmax(raw, dim=2), dim=0) - log(len(self.members))
