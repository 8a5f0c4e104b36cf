"""Training pictures as they might have been taken as well, by torchvision's transforms (v2).

All randomness is torch's global generator's, so that a seed fixes the pictures with the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sextant_plan.schema import Augmentation

if TYPE_CHECKING:
    import torch

SHIFT = 0.1  # of the side
TURN = 10.0  # degrees, each way: about as far as a hand tilts what it holds
SCALE = (0.9, 1.1)
ERASED = (0.02, 0.12)  # of the area


def augmented(image: torch.Tensor, kinds: Sequence[Augmentation]) -> torch.Tensor:
    """Return the pictures, each changed at random in each of these ways, in the order of `kinds`.

    Takes and returns uint8, rows x height x width x channels. `light` changes contrast, brightness and noise, as
    cameras and lamps differ. `mirror` and `turn` change what a letter or a label means: they are for what has no
    upright side.
    """
    import torch

    for kind in kinds:
        if kind == "light":
            image = _light(image)
            continue
        change = _transform(kind)
        # One at a time: a transform of a batch would change all its pictures alike.
        rows = [change(picture) for picture in image.permute(0, 3, 1, 2)]
        image = torch.stack(rows).permute(0, 2, 3, 1).contiguous()
    return image


def _light(image: torch.Tensor) -> torch.Tensor:
    import torch

    each = (len(image), 1, 1, 1)
    contrast = torch.empty(each).uniform_(0.7, 1.3)
    brightness = torch.empty(each).uniform_(-30.0, 30.0)
    spread = torch.empty(each).uniform_(0.0, 16.0)
    noise = torch.randn(image.shape).mul_(spread)
    # In place: on small pictures new memory for each of six sums costs more than the sums.
    changed = image.float().sub_(127.5).mul_(contrast).add_(127.5).add_(brightness).add_(noise)
    return changed.clamp_(0, 255).to(torch.uint8)


def _transform(kind: Augmentation) -> Any:
    """Return torchvision's transform of one picture, channels first; what comes in from beyond its edge is grey."""
    from torchvision.transforms import v2

    if kind == "shift":
        return v2.RandomAffine(degrees=0, translate=(SHIFT, SHIFT), scale=SCALE, fill=127)
    if kind == "turn":
        return v2.RandomRotation(TURN, fill=127)
    if kind == "mirror":
        return v2.RandomHorizontalFlip()
    if kind == "blur":
        return v2.GaussianBlur(3, sigma=(0.1, 1.5))
    assert kind == "erase"
    return v2.RandomErasing(p=0.5, scale=ERASED, value=127)
