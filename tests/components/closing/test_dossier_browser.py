"""The dossier in a real browser: whole on a phone, silent on the console, readable in light and dark."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.components.browsing import Browser

from sextant_components.closing.dossier import run_dossier
from sextant_components.runs.context import RunContext, Step

pytestmark = pytest.mark.browser
PHONE, DESK = 390, 1280


ENDINGS = [
    pytest.param({}, id="passed"),
    pytest.param({"right": 500, "last": Step.DECIDE}, id="failed"),
    pytest.param({"crash_in": Step.TRAIN}, id="crashed"),
]


@pytest.mark.parametrize("story", ENDINGS)
def test_the_page_is_silent_and_fits_a_phone(
    browser: Browser, tell: Callable[..., RunContext], story: dict[str, Any]
) -> None:
    """Nothing on the console, no request but the file itself, every picture decoded, no sideways scrolling."""
    page = run_dossier(tell(**story))
    for width in (PHONE, DESK):
        browser.open(page, width=width)
        wide = "[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, .skip, .hidden, thead')"
        wide += f" && e.getBoundingClientRect().right > {width} + 0.5).map(e => e.outerHTML.slice(0, 120))"
        assert browser.ask("document.documentElement.scrollWidth") <= width, browser.ask(wide)
        assert browser.ask(wide) == []
        assert browser.ask("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
        noise = {"Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"}
        assert [event for event in browser.events if event["method"] in noise] == []
        asked = [e["params"]["request"]["url"] for e in browser.events if e["method"] == "Network.requestWillBeSent"]
        assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()]


def test_a_citation_leads_to_its_record(browser: Browser, tell: Callable[..., RunContext]) -> None:
    """Following a citation opens the fold of the appendix that holds the record."""
    browser.open(run_dossier(tell()), width=DESK)
    browser.ask("document.querySelector('#criteria tbody .cite').click()")
    assert browser.ask("document.querySelector(':target').closest('details').open")
    assert browser.ask("document.querySelector(':target').getBoundingClientRect().height") > 0


def test_dark_mode_changes_the_colours(browser: Browser, tell: Callable[..., RunContext]) -> None:
    """The page follows the reader's colour scheme, and paper stays light."""
    page = run_dossier(tell())
    colours = "(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))"
    seen = []
    for dark, media in ((False, "screen"), (True, "screen"), (True, "print")):
        browser.open(page, width=DESK, dark=dark, media=media)
        seen.append(browser.ask(colours))
    light, dark_ones, paper = seen
    assert light == ["rgb(251, 250, 247)", "rgb(28, 36, 48)"]
    assert dark_ones == ["rgb(18, 22, 28)", "rgb(231, 229, 223)"]
    assert paper == ["rgb(255, 255, 255)", light[1]]


def test_print_unfolds_the_evidence(browser: Browser, tell: Callable[..., RunContext]) -> None:
    """On paper nothing can be clicked, so every record is there."""
    browser.open(run_dossier(tell()), width=DESK, media="print")
    assert browser.ask("[...document.querySelectorAll('details tbody tr')].every(r => r.checkVisibility())")
