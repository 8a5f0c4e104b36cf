"""A canary on one machine: the version in service and the new one as two servers behind a weighted front."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sextant_plan.canary_criteria import canary_criteria
from sextant_plan.errors import UsageError
from sextant_plan.files import LockHeld, locked
from sextant_plan.promotion import ActiveModel
from sextant_serving.client import Client
from sextant_serving.launch import Server, running_server
from sextant_serving.registry import Registry
from sextant_serving.rollout.admission import admit
from sextant_serving.rollout.files import RolloutFolder
from sextant_serving.rollout.increments import series_wanted
from sextant_serving.rollout.machine import Ports, Rollout
from sextant_serving.rollout.pages import read_page
from sextant_serving.rollout.ports import Arm, Journal, Reading
from sextant_serving.rollout.release import Release
from sextant_serving.rollout.splitter import Splitter
from sextant_serving.rollout.state import RolloutState

TICKS_PER_INTERVAL = 10  # a look is late by at most a tenth of an interval
LONGEST_TICK = 1.0


@dataclass
class Pair:
    """Both servers and the front: the rollout's traffic and its counters."""

    servers: dict[Arm, Server]
    splitter: Splitter
    wanted: list[str]
    began: float
    alone: Arm | None = None

    @property
    def url(self) -> str:
        """Where clients send their requests."""
        return self.splitter.url

    def canary_ready(self) -> bool:
        """Tell whether the canary's server is up and takes requests."""
        server = self.servers["canary"]
        if server.process.poll() is not None:
            return False
        try:
            with Client(server.url, timeout=5.0) as client:
                return client.ready()
        except http.client.HTTPException:
            return False

    def set_weight(self, percent: int) -> None:
        """Send this share of the requests to the canary."""
        self.splitter.weight = percent

    def carried_weight(self) -> int | None:
        """Return the share in force."""
        return self.splitter.weight

    def replace_stable(self) -> None:
        """Leave the canary alone behind the front."""
        self.alone = "canary"

    def remove_canary(self) -> None:
        """Leave the stable version alone behind the front."""
        self.alone = "stable"

    def serves_alone(self, arm: Arm) -> bool:
        """Tell whether one version has the front to itself; the weight has been 100 or 0 for it since before."""
        return self.alone == arm

    def read(self) -> dict[Arm, list[Reading]]:
        """Read both servers' metrics pages. Raises CountersUnreadable."""
        return {
            arm: [Reading(f"{arm}-{server.process.pid}", self.began, read_page(server.url, self.wanted))]
            for arm, server in self.servers.items()
        }


@contextmanager
def running_pair(stable: ActiveModel, release: Release, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[Pair]:
    """Serve the version in service and the release side by side behind a front for the duration of the block.

    Raises ServerDidNotStart, PortInUse and CannotListen.
    """
    name = ["--model-name", release.name]
    began = time.time()
    with (
        running_server(
            bundle=Path(stable.bundle),
            feature_repo=Path(stable.feature_repo) if stable.feature_repo else None,
            arguments=[*name, "--variant", release.stable],
        ) as first,
        running_server(
            bundle=Path(release.bundle),
            feature_repo=Path(release.feature_repo) if release.feature_repo else None,
            arguments=[*name, "--variant", release.canary],
        ) as second,
        Splitter({"stable": first.url, "canary": second.url}, host=host, port=port) as splitter,
    ):
        wanted = series_wanted(canary_criteria(release.read_plan()))
        yield Pair({"stable": first, "canary": second}, splitter, wanted, began)


def run_rollout(
    release: Release,
    pair: Pair,
    folder: RolloutFolder,
    registry: Registry,
    journal: Journal,
    *,
    stop: threading.Event,
    clock: Callable[[], float] = time.time,
) -> RolloutState:
    """Tick until the rollout ends or `stop` is set; return where it stands. Started again, it goes on from there.

    Raises UsageError if another process runs it.
    """
    plan = release.read_plan()
    ports = Ports(lambda: admit(release, registry.digest_of), pair, pair, folder, journal)
    rollout = Rollout(release.digest, plan, ports)
    pause = min(plan.rollout.interval / TICKS_PER_INTERVAL, LONGEST_TICK)
    try:
        with locked(folder.lock, seconds=0):
            while True:
                state = rollout.tick(clock(), folder.wishes())
                if state.terminal or stop.wait(pause):
                    return state
    except LockHeld as error:
        raise UsageError(f"{folder.path}: another process runs this rollout. Stop it first, or wait.") from error
