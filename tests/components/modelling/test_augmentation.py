"""Training pictures changed at random: each on its own, of the same form, and the same for the same seed."""

from __future__ import annotations

import pytest
import torch

from sextant_components.modelling.augmentation import augmented
from sextant_plan.schema import Augmentation

KINDS: list[Augmentation] = ["light", "shift", "turn", "mirror", "blur", "erase"]


def _pictures(rows: int = 16) -> torch.Tensor:
    """The same picture many times: dark on the left, light on the right, with an edge across it."""
    picture = torch.linspace(20, 230, 12).to(torch.uint8).expand(12, 12).clone()
    picture[:4] = 255 - picture[:4]
    return picture[None, :, :, None].expand(rows, 12, 12, 3).clone()


@pytest.mark.parametrize("kind", KINDS)
def test_each_picture_is_changed_on_its_own(kind: Augmentation) -> None:
    """Of equal pictures the results differ; type and shape stay."""
    torch.manual_seed(0)
    found = augmented(_pictures(), [kind])
    assert found.dtype == torch.uint8
    assert found.shape == (16, 12, 12, 3)
    assert len({row.numpy().tobytes() for row in found}) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_fixes_what_is_random(kind: Augmentation) -> None:
    """A fit that is repeated sees the same pictures."""
    found = []
    for _ in range(2):
        torch.manual_seed(7)
        found.append(augmented(_pictures(), [kind, "light"]))
    assert torch.equal(found[0], found[1])


def test_a_mirrored_picture_is_the_picture_or_its_mirror() -> None:
    """Nothing else is done to it."""
    torch.manual_seed(0)
    pictures = _pictures()
    found = augmented(pictures, ["mirror"])
    mirrored = pictures.flip(2)
    same = [torch.equal(row, pictures[0]) for row in found]
    assert all(one or torch.equal(row, mirrored[0]) for one, row in zip(same, found, strict=True))
    assert 0 < sum(same) < len(same)


def test_without_any_kind_nothing_changes() -> None:
    """An empty list switches augmentation off."""
    pictures = _pictures()
    assert torch.equal(augmented(pictures, []), pictures)
