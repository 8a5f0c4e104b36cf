"""Drill slow-model: the network in service takes longer than its objective; the alert on latency has to see it.

Another server, on which it does not, then takes its place.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from sextant_components.deployment.drills.detectors import Detector
from sextant_components.deployment.drills.held_back import MODULE, held_back
from sextant_components.deployment.drills.result import Result
from sextant_components.deployment.drills.stage import IN_USE, Stage, asking, scrape, seconds_until, send, serving

if TYPE_CHECKING:
    from sextant_serving.client import Client

SLOWER_BY = 1.5  # times the objective, so that no request is answered in time
IN_TIME = 20  # answers in a row within the objective, after which the service counts as well again


def rehearse(stage: Stage, detector: Detector) -> Result:
    """Slow the network until the alert sees it, then put another server in its place."""
    from sextant_serving.client import Client

    limit = stage.plan.serving.latency_slo_ms / 1000
    brake = stage.scratch / "seconds-slower"
    with (
        serving(stage, program=(MODULE, str(brake))) as slow,
        asking(stage, slow.url) as load,
        ExitStack() as servers,
    ):
        load.wait_for(IN_USE)
        before = scrape(slow.url)
        assert before is not None
        began = time.monotonic()
        with held_back(brake, SLOWER_BY * limit):
            detected = seconds_until(lambda: detector.fires(before, scrape(slow.url)), since=began)
            load.url = servers.enter_context(serving(stage)).url
            with Client(load.url, stage.active.name) as client:
                recovered = seconds_until(lambda: _in_time(client, stage, limit), since=began)
    return Result(
        fault=f"each batch takes {1000 * SLOWER_BY * limit:g} ms longer on the device",
        detected_after=detected,
        recovery="another server takes its place",
        recovered_after=recovered,
        requests=load.requests,
        failed=load.failed,
    )


def _in_time(client: Client, stage: Stage, limit: float) -> bool:
    """Tell whether a handful of requests in a row are answered within the objective."""
    from sextant_serving.client import Refused

    for row in stage.rows[:IN_TIME]:
        asked = time.monotonic()
        try:
            send(client, row)
        except Refused:
            return False
        if time.monotonic() - asked > limit:
            return False
    return True
