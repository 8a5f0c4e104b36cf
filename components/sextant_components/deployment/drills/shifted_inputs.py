"""Drill drift: the inputs change under the model; the alert on drift sees it, and is silent before and after."""

from __future__ import annotations

import io
import time
from collections.abc import Collection
from dataclasses import replace
from itertools import islice

from sextant_components.deployment.drills.detectors import Detector
from sextant_components.deployment.drills.result import Result
from sextant_components.deployment.drills.stage import Stage, scrape, send, serving
from sextant_components.deployment.replay import LiveRow

DARKENED = 0.25  # of the brightness that is left
STRETCHED = 4.0
STRANGE = "never-seen"
CHECK_EVERY = 25  # requests between two readings of the rule
MOST_ROWS = 2000


def rehearse(stage: Stage, detector: Detector) -> Result:
    """Send rows as they are, then the same shifted until the alert sees it, then as they are again."""
    categories = {column.name for column in stage.spec.columns if column.view is None and column.vocabulary}
    with serving(stage) as server, server.client() as client:
        before = scrape(server.url)
        assert before is not None
        sent = 0
        for row in islice(stage.rows, MOST_ROWS):
            send(client, row)
            sent += 1
        quiet = not detector.fires(before, scrape(server.url))

        start, began = scrape(server.url), time.monotonic()
        assert start is not None
        detected, shifted = None, 0
        while detected is None and shifted < max(MOST_ROWS, len(stage.rows)):
            for place in range(CHECK_EVERY):
                send(client, shift(stage.rows[(shifted + place) % len(stage.rows)], categories))
            shifted += CHECK_EVERY
            if detector.fires(start, scrape(server.url)):
                detected = time.monotonic() - began

        again = scrape(server.url)
        assert again is not None
        for row in islice(stage.rows, MOST_ROWS):
            send(client, row)
            sent += 1
        silent = not detector.fires(again, scrape(server.url))
        recovered = time.monotonic() - began if silent and quiet else None
    return Result(
        fault=f"pictures at {DARKENED:.0%} brightness, numbers times {STRETCHED:g}, categories never seen",
        detected_after=detected,
        recovery="the inputs are as before; what the plan does about a lasting shift is to retrain",
        recovered_after=recovered,
        requests=sent + shifted,
        facts={"silent before": int(quiet), "silent after": int(silent), "shifted rows until seen": shifted},
    )


def shift(row: LiveRow, categories: Collection[str]) -> LiveRow:
    """Return the row as a broken camera, scale or supplier would send it; `categories` are its columns of words."""
    fields: dict[str, str | float | None] = {
        name: STRANGE if name in categories else value * STRETCHED if isinstance(value, int | float) else value
        for name, value in row.fields.items()
    }
    return replace(row, fields=fields, picture=None if row.picture is None else _darkened(row.picture))


def _darkened(picture: bytes) -> bytes:
    from PIL import Image

    with Image.open(io.BytesIO(picture)) as image:
        dark = image.point(lambda level: level * DARKENED)
        buffer = io.BytesIO()
        dark.save(buffer, "PNG")
    return buffer.getvalue()
