"""Training pictures as they might have been taken as well, by torchvision's transforms (v2) with numbers drawn here.

Its random transforms know torch's global generator alone, which a thread that makes batches ahead must not touch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from sextant_plan.schema import Augmentation

if TYPE_CHECKING:
    import torch

SHIFT = 0.1  # of the side
TURN = 10.0  # degrees, each way: about as far as a hand tilts what it holds
SCALE = (0.9, 1.1)
ERASED = (0.02, 0.12)  # of the area
ERASED_RATIO = (0.3, 3.3)  # of an erased box, height over width
BLUR = (0.1, 1.5)  # pixels of standard deviation
GREY = 127
DRAWS = 5  # numbers that any of the changes needs of a picture


def augmented(
    image: torch.Tensor, kinds: Sequence[Augmentation], generator: torch.Generator | None = None
) -> torch.Tensor:
    """Return the pictures, each changed at random in each of these ways, in the order of `kinds`.

    Takes and returns uint8, rows x height x width x channels. `light` changes contrast, brightness and noise, as
    cameras and lamps differ. `mirror` and `turn` change what a letter or a label means: they are for what has no
    upright side. All that is random comes from `generator`, None for torch's own.
    """
    for kind in kinds:
        image = _light(image, generator) if kind == "light" else _each(image, kind, generator)
    return image


def _light(image: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    import torch

    each = (len(image), 1, 1, 1)
    contrast = torch.empty(each).uniform_(0.7, 1.3, generator=generator)
    brightness = torch.empty(each).uniform_(-30.0, 30.0, generator=generator)
    spread = torch.empty(each).uniform_(0.0, 16.0, generator=generator)
    noise = torch.randn(image.shape, generator=generator).mul_(spread)
    # In place: on small pictures new memory for each of six sums costs more than the sums.
    changed = image.float().sub_(127.5).mul_(contrast).add_(127.5).add_(brightness).add_(noise)
    return changed.clamp_(0, 255).to(torch.uint8)


def _each(image: torch.Tensor, kind: Augmentation, generator: torch.Generator | None) -> torch.Tensor:
    """Change one picture at a time, by numbers drawn for it: a transform of a batch would change all alike."""
    import torch

    change = CHANGES[kind]
    drawn = torch.rand((len(image), DRAWS), generator=generator, dtype=torch.float64).tolist()
    pictures = image.permute(0, 3, 1, 2)
    rows = [change(picture, numbers) for picture, numbers in zip(pictures, drawn, strict=True)]
    return torch.stack(rows).permute(0, 2, 3, 1).contiguous()


def _between(low: float, high: float, number: float) -> float:
    return low + (high - low) * number


def _shift(picture: torch.Tensor, drawn: Sequence[float]) -> torch.Tensor:
    """Move the picture and scale it; what comes in from beyond its edge is grey."""
    from torchvision.transforms.v2 import functional

    height, width = picture.shape[-2:]
    move = [round(_between(-SHIFT, SHIFT, drawn[place]) * side) for place, side in enumerate((width, height))]
    scale = _between(*SCALE, drawn[2])
    moved: torch.Tensor = functional.affine(picture, 0.0, move, scale, [0.0, 0.0], fill=[GREY])
    return moved


def _turn(picture: torch.Tensor, drawn: Sequence[float]) -> torch.Tensor:
    from torchvision.transforms.v2 import functional

    turned: torch.Tensor = functional.rotate(picture, _between(-TURN, TURN, drawn[0]), fill=[GREY])
    return turned


def _mirror(picture: torch.Tensor, drawn: Sequence[float]) -> torch.Tensor:
    return picture.flip(-1) if drawn[0] < 0.5 else picture


def _blur(picture: torch.Tensor, drawn: Sequence[float]) -> torch.Tensor:
    from torchvision.transforms.v2 import functional

    blurred: torch.Tensor = functional.gaussian_blur(picture, [3, 3], [_between(*BLUR, drawn[0])])
    return blurred


def _erase(picture: torch.Tensor, drawn: Sequence[float]) -> torch.Tensor:
    """Lay a grey box over half of the pictures (random erasing, Zhong et al. 2020)."""
    if drawn[0] >= 0.5:
        return picture
    height, width = picture.shape[-2:]
    area = _between(*ERASED, drawn[1]) * height * width
    ratio = math.exp(_between(math.log(ERASED_RATIO[0]), math.log(ERASED_RATIO[1]), drawn[2]))
    tall = min(max(1, round(math.sqrt(area * ratio))), height)
    wide = min(max(1, round(math.sqrt(area / ratio))), width)
    top, left = int(drawn[3] * (height - tall + 1)), int(drawn[4] * (width - wide + 1))
    erased = picture.clone()
    erased[..., top : top + tall, left : left + wide] = GREY
    return erased


CHANGES: Mapping[Augmentation, Callable[[torch.Tensor, Sequence[float]], torch.Tensor]] = {
    "shift": _shift,
    "turn": _turn,
    "mirror": _mirror,
    "blur": _blur,
    "erase": _erase,
}
