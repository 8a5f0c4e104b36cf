"""The exported page in a real Chromium: it proves itself, answers pictures as the bundle does, and asks nobody else."""

from __future__ import annotations

import base64
import functools
import http.server
import io
import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from tests.components.browsing import Browser
from tests.programs import program

from sextant_components.data.tables import image_bytes
from sextant_components.modelling.exports.browser import RUNTIME, export_browser
from sextant_components.runs.context import RunContext
from sextant_pipelines.commands.export import command
from sextant_plan.canonical import digest_of_file
from sextant_plan.ledger import LATER, ArtifactStore, read_run
from sextant_plan.verdicts import Verdict
from sextant_serving.local_model import LocalModel

pytestmark = pytest.mark.browser


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The browser's runtime from the npm registry; skipped without npm, an error where servers are required."""
    npm = program("npm")
    folder = tmp_path_factory.mktemp("npm")
    subprocess.run([npm, "pack", "--silent", RUNTIME], cwd=folder, check=True, timeout=200, capture_output=True)
    (tarball,) = folder.glob("*.tgz")
    return tarball


@pytest.fixture
def address(made: Any, runtime: Path, tmp_path: Path) -> Iterator[str]:
    """The exported page on a plain static server of this machine."""
    export_browser(made.bundle, made.spec, tmp_path / "page", runtime=runtime)
    handler = functools.partial(Silent, directory=str(tmp_path / "page"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/index.html"
        server.shutdown()
        thread.join()


class Silent(http.server.SimpleHTTPRequestHandler):
    """A static server that writes no log."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _until_proved(browser: Browser) -> str:
    """Return what the page says of its own parity, once it says it."""
    said: str = browser.ask(
        "new Promise(done => { const look = () => document.documentElement.dataset.parity"
        " ? done(document.documentElement.dataset.parity) : requestAnimationFrame(look); look(); })"
    )
    return said


def _png(pixels: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_the_page_proves_itself_and_answers_pictures_as_the_bundle(
    browser: Browser, address: str, made: Any, bars: Any
) -> None:
    """Golden requests agree; pictures of the data, and a larger coloured one, get the bundle's probabilities."""
    browser.open(address)
    assert _until_proved(browser) == "pass"
    large = np.random.default_rng(3).integers(0, 256, (37, 50, 3), dtype=np.uint8)
    pictures = [*image_bytes(bars.snapshot, [0, 1, 2]), _png(large)]
    expected = LocalModel(made.bundle).predict([{"image": picture} for picture in pictures])
    for picture, wanted in zip(pictures, expected, strict=True):
        text = base64.b64encode(picture).decode()
        found = browser.ask(
            f"(async () => {{ const bytes = Uint8Array.from(atob('{text}'), c => c.charCodeAt(0));"
            " const { answer } = await import('./page.js');"
            " return JSON.stringify(await answer(new Blob([bytes], {type: 'image/png'}), {})); })()"
        )
        np.testing.assert_allclose(json.loads(found), list(wanted.values()), atol=made.spec.golden_tolerance)
    noise = {"Runtime.exceptionThrown", "Log.entryAdded"}
    assert [event for event in browser.events if event["method"] in noise] == []
    asked = [e["params"]["request"]["url"] for e in browser.events if e["method"] == "Network.requestWillBeSent"]
    origin = address.removesuffix("index.html")
    assert [url for url in asked if not url.startswith((origin, "data:", "blob:"))] == []


def test_a_page_made_by_the_command_is_recorded_in_the_run_that_sealed_the_bundle(
    sealing_run: RunContext, made: Any, runtime: Path, tmp_path: Path
) -> None:
    """With the digest of the page and of the model that lie in the folder."""
    folders = ["--out", str(tmp_path / "page"), "--home", str(sealing_run.run.parent.parent)]
    arguments = [str(made.bundle), "--to", "browser", "--runtime", str(runtime), *folders]
    assert CliRunner().invoke(command, arguments, standalone_mode=False).exception is None
    later = sealing_run.run / LATER
    record, _ = read_run(later)["export_browser"]
    assert (record.task, record.verdict) == ("export: browser", Verdict.PASS)
    files = json.loads(ArtifactStore(later).read_bytes(record.artifacts["export-browser.json"]))
    found = {line["file"]: line["sha256"] for line in files}
    assert {name: digest_of_file(tmp_path / "page" / name) for name in found} == found
    assert {"index.html", "page.js"} <= found.keys()


def test_a_page_whose_model_was_changed_says_so_and_offers_no_form(
    browser: Browser, address: str, tmp_path: Path
) -> None:
    """Golden answers that do not come out are a failure in words, and nothing can be asked."""
    file = tmp_path / "page" / "golden.json"
    golden = json.loads(file.read_text())
    golden["expected"] = [row[::-1] for row in golden["expected"]]
    file.write_text(json.dumps(golden))
    browser.open(address)
    assert _until_proved(browser) == "fail"
    assert "Do not use this page" in browser.ask("document.getElementById('parity').textContent")
    assert browser.ask("document.querySelectorAll('#form input').length") == 0
