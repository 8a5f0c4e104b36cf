"""Rollout controllers that compete for one lease, and whole rollouts side by side under them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.cluster.rollout.clients import Load
from tests.cluster.rollout.gateways import revive_gateway
from tests.programs import free_port

from sextant_serving.rollout.release import Release
from sextant_serving.rollout.state import Phase, RolloutState

DEADLINE_SECONDS = 600  # a busy machine starts eight pods; without load four rollouts take about 100 s
STOP_SECONDS = 180  # a step asks a dozen servers in turn before it ends, each with a limit of ten seconds


@dataclass
class Controllers:
    """Two of them within a `with`, after which every one that was started has been stopped.

    `access` is the kubeconfig that they get.
    """

    cluster: Any
    home: Path
    prometheus: str
    access: Path
    _running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __enter__(self) -> Controllers:
        for _ in range(2):
            self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for controller in self._running:
            controller.send_signal(signal.SIGTERM)
        for controller in self._running:
            controller.wait(STOP_SECONDS)

    @property
    def log(self) -> Path:
        """What all of them say."""
        return self.home / "controller.log"

    def _start(self) -> None:
        command = [
            sys.executable, "-m", "sextant_pipelines.cli", "rollout", "controller", "--home", str(self.home),
            "--namespace", self.cluster.namespace, "--prometheus", self.prometheus, "--scrape-interval", "1",
            "--metrics-port", str(free_port()),
        ]  # fmt: skip
        with self.log.open("ab") as log:
            started = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "KUBECONFIG": str(self.access)}
            )
        self._running.append(started)

    def kill_the_leader(self) -> None:
        """Kill the one that holds the lease, and start another."""
        lease = self.cluster.get("lease", "sextant-rollout")
        leader = int(lease["spec"]["holderIdentity"].rpartition("-")[2])
        (victim,) = [each for each in self._running if each.pid == leader]
        victim.kill()
        victim.wait()
        self._running.remove(victim)
        self._start()

    def wait_for(self, what: str, ready: Callable[[], Any]) -> None:
        """Wait for something that they bring about; one that ends by itself is an error."""

        def is_ready() -> Any:
            assert all(each.poll() is None for each in self._running), f"a controller ended: {self.log}"
            revive_gateway(self.cluster)
            return ready()

        wait_for(what, is_ready, DEADLINE_SECONDS)


@dataclass
class Outcome:
    """How one rollout ended, and what its clients saw."""

    state: RolloutState
    statuses: Counter[str]
    document: dict[str, Any]
    release: Release

    @property
    def seconds(self) -> float:
        assert self.state.ended is not None
        return self.state.ended - self.state.began


def roll_out(
    workshop: Any, releases: Mapping[str, Release], loads: Mapping[str, Load], *, kill_at: Sequence[tuple[str, Phase]]
) -> dict[str, Outcome]:
    """Carry submitted releases to their ends under load; at each of `kill_at` the acting controller is killed."""
    with contextlib.ExitStack() as stack:
        for load in loads.values():
            stack.enter_context(load)
        controllers = stack.enter_context(workshop.controllers())
        for name, phase in kill_at:
            controllers.wait_for(f"{phase} of {name}", partial(workshop.reached, name, phase))
            controllers.kill_the_leader()
        controllers.wait_for("the end", lambda: all(workshop.ended(name) for name in releases))
    return {
        name: Outcome(
            workshop.state_of(name), loads[name].statuses, workshop.cluster.get("inferenceservice", name), release
        )
        for name, release in releases.items()
    }


def wait_for(what: str, ready: Callable[[], Any], seconds: float = 180.0) -> Any:
    """Return what `ready` returns once that is true."""
    pause, end = threading.Event(), time.monotonic() + seconds
    while not (found := ready()):
        assert time.monotonic() < end, f"{what} did not come"
        pause.wait(0.5)
    return found
