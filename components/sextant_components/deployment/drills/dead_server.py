"""Drill dead-pod: the only server is killed while clients ask it; the alert on readiness sees it, another starts."""

from __future__ import annotations

import time
from contextlib import ExitStack

from sextant_components.deployment.drills.detectors import Detector
from sextant_components.deployment.drills.result import Result
from sextant_components.deployment.drills.stage import IN_USE, Stage, asking, scrape, seconds_until, serving


def rehearse(stage: Stage, detector: Detector) -> Result:
    """Kill the server as the system would, and start another as a supervisor would."""
    from sextant_serving.client import Client

    with serving(stage) as victim, asking(stage, victim.url) as load, ExitStack() as servers:
        load.wait_for(IN_USE)
        before = scrape(victim.url)
        assert before is not None
        began = time.monotonic()
        victim.process.kill()
        detected = seconds_until(lambda: detector.fires(before, scrape(victim.url)), since=began)
        load.url = servers.enter_context(serving(stage)).url
        with Client(load.url, stage.active.name) as client:
            recovered = seconds_until(client.ready, since=began)
    return Result(
        fault="SIGKILL to the only server",
        detected_after=detected,
        recovery="another server is started and has replayed its golden requests",
        recovered_after=recovered,
        requests=load.requests,
        failed=load.failed,
    )
