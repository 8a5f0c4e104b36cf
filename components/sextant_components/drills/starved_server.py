"""Drill slow-model: the server in service gets almost no processor; the alert on latency has to see it.

It is stopped and let go on in turn by the system, so that it is slow as a starved pod is: its requests are accepted
and take many times their usual time. Another server then takes its place.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from sextant_components.drills.detectors import Detector
from sextant_components.drills.result import Result
from sextant_components.drills.stage import IN_USE, Stage, asking, scrape, seconds_until, send, serving

if TYPE_CHECKING:
    from sextant_serving.client import Client

RUN_SECONDS = 0.001
IN_TIME = 20  # answers in a row within the objective, after which the service counts as well again


def rehearse(stage: Stage, detector: Detector) -> Result:
    """Starve the server until the alert sees it, then put another in its place."""
    from sextant_serving.client import Client

    limit = stage.plan.serving.latency_slo_ms / 1000
    with serving(stage) as slow, asking(stage, slow.url) as load, ExitStack() as servers:
        # An open connection that asks nothing, as a gateway keeps: batches are then waited for.
        idle = servers.enter_context(Client(slow.url, stage.active.name))
        idle.ready()
        load.wait_for(IN_USE)
        before = scrape(slow.url)
        assert before is not None
        began = time.monotonic()
        with _starved(slow.process.pid, stop=2 * limit):
            detected = seconds_until(lambda: detector.fires(before, scrape(slow.url)), since=began)
            load.url = servers.enter_context(serving(stage)).url
            with Client(load.url, stage.active.name) as client:
                recovered = seconds_until(lambda: _in_time(client, stage, limit), since=began)
    return Result(
        fault=f"the server runs for 1 ms, then stands still for {2000 * limit:g} ms, and so on",
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


@contextmanager
def _starved(process: int, *, stop: float) -> Iterator[None]:
    """Stop a process for `stop` seconds at a time, with RUN_SECONDS between, for the duration of the block."""
    over = threading.Event()

    def alternate() -> None:
        while not over.is_set():
            os.kill(process, signal.SIGSTOP)
            over.wait(stop)
            os.kill(process, signal.SIGCONT)
            time.sleep(RUN_SECONDS)

    thread = threading.Thread(target=alternate, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGCONT)
