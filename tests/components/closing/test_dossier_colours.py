"""The dossier's colours, light and dark: text has contrast, shades can be told apart."""

from __future__ import annotations

from itertools import combinations_with_replacement, pairwise

import pytest

from sextant_components.closing.dossier.palette import DARK, LIGHT, Colours, contrast, heat


@pytest.mark.parametrize("colours", [pytest.param(LIGHT, id="light"), pytest.param(DARK, id="dark")])
def test_text_has_contrast_aa(colours: Colours) -> None:
    """Every text colour reaches 4.5 to 1 on every ground that it stands on."""
    grounds = [colours["paper"], colours["surface"], colours["accent-soft"]]
    pairs = [(colours[text], ground) for text in ("ink", "quiet", "accent") for ground in grounds]
    for tone in ("pass", "fail", "unknown", "idle"):
        pairs += [(colours[tone], colours[f"{tone}-soft"]), (colours["ink"], colours[f"{tone}-soft"])]
    assert [(text, ground) for text, ground in pairs if contrast(text, ground) < 4.5] == []


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_shades_can_be_read_and_told_apart(mode: str) -> None:
    """Each of the ten shades keeps its number readable, and darker never follows lighter."""
    shades = heat(mode)
    assert len(shades) == 10
    assert [shade for shade in shades if contrast(*shade) < 4.5] == []
    steps = [contrast(shades[0][0], ground) for ground, _ in shades]
    assert all(after > before for before, after in pairwise(steps))


def test_contrast_is_that_of_the_standard() -> None:
    """Black on white is 21, a colour on itself 1, and the order does not matter."""
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    for one, other in combinations_with_replacement(["#000000", "#1f5673", "#ffffff"], 2):
        assert contrast(one, other) == contrast(other, one) >= 1
