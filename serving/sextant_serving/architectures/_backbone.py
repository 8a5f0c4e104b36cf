"""A convolutional body of torchvision with a new head over its features and the columns."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sextant_plan.schema import ImageInput
from sextant_serving.architectures import Param
from sextant_serving.architectures._network import Network

# `weights` is a file beside the plan, `weights_sha256` its digest; training reads it, serving has the bundle's own.
BACKBONE_PARAMS: dict[str, Param] = {"weights": "", "weights_sha256": "", "dropout": 0.2}
# Of ImageNet's pictures, from 0 to 1: what the published weights of these bodies were trained with.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Backbone(Network):
    """`body` gives `outputs` features of a picture; one affine layer joins them with the columns, if there are any.

    `replaced` is the body's own last part, a name such as `fc`, which published weights hold and this network does not.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        body: nn.Module,
        *,
        replaced: str,
        params: Mapping[str, Param],
        image: ImageInput,
        columns: int,
        classes: int,
    ) -> None:
        super().__init__(image=image, columns=columns)
        last = getattr(body, replaced)
        outputs = next(layer.in_features for layer in last.modules() if isinstance(layer, nn.Linear))
        setattr(body, replaced, nn.Identity())
        self.body, self.replaced = body, replaced
        self.head = nn.Sequential(nn.Dropout(float(params["dropout"])), nn.Linear(outputs + columns, classes))
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1))

    def pixels(self, image: Tensor) -> Tensor:
        """Return the picture as the body was made for: three channels, scaled by ImageNet's mean and deviation."""
        colours = image.to(torch.float32).permute(0, 3, 1, 2) / 255.0
        return (colours - self.mean) / self.deviation  # a grey picture's one channel becomes three here

    def forward(self, image: Tensor | None = None, features: Tensor | None = None) -> Tensor:
        """Return logits, rows x classes."""
        assert image is not None
        parts = [self.body(self.pixels(image))]
        if "features" in self.reads:
            assert features is not None
            parts.append(self.standardised(features))
        logits: Tensor = self.head(torch.cat(parts, dim=1))
        return logits
