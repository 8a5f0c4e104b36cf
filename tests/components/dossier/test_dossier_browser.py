"""The dossier in a real browser: whole on a phone, silent on the console, readable in light and dark."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from sextant_components.context import RunContext, Step
from sextant_components.dossier import run_dossier

pytestmark = pytest.mark.browser
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
# The protocol's descriptors are fixed: Chromium reads commands from 3 and writes answers and events to 4.
ON_PIPES = ("bash", "-c", 'exec "${@:3}" 3<&"$1" 4>&"$2"', "bash")
PHONE, DESK = 390, 1280


class Browser:
    """A Chromium that is spoken to over two pipes in its DevTools protocol: no port, no driver, no library."""

    def __init__(self, program: str, profile: Path) -> None:
        pipes = os.pipe(), os.pipe()
        self._write, self._read = pipes[0][1], pipes[1][0]
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (pipes[0][0], pipes[1][1])]
        command = [*ON_PIPES, *map(str, ends), program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(command, pass_fds=ends, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for end in (pipes[0][0], pipes[1][1], *ends):
            os.close(end)
        self._buffer, self._last, self._session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session = ""
        self.send("Browser.close")
        self._process.wait(timeout=20)
        os.close(self._write)
        os.close(self._read)

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method and return its result; events that arrive meanwhile are kept."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._last:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            chunk = os.read(self._read, 1 << 16)
            assert chunk, "the browser closed its pipe"
            self._buffer += chunk
        message, _, self._buffer = self._buffer.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer

    def open(self, page: Path, *, width: int, dark: bool = False, media: str = "screen") -> None:
        """Show a page at a width in CSS pixels and wait until it has loaded."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", media=media, features=[scheme])
        size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < DESK}
        self.send("Emulation.setDeviceMetricsOverride", **size)
        self.events.clear()
        self.send("Page.navigate", url=page.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._receive())

    def ask(self, expression: str) -> Any:
        """Evaluate JavaScript in the page and return its value."""
        return self.send("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """Write the whole page as a PNG, for a person to look at."""
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser with an empty profile; skipped where there is none, an error where servers are required."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        if os.environ.get("SEXTANT_REQUIRE_SERVERS") == "1":
            pytest.fail("no Chromium on PATH and SEXTANT_REQUIRE_SERVERS=1. Install chromium.")
        pytest.skip("no Chromium on PATH")
    with Browser(program, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


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
