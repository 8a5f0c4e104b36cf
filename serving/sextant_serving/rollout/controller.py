"""The rollout controller: one process that steps every rollout of a namespace while it holds the lease."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Any

from sextant_plan.catalogue import (
    CONTROLLER,
    ROLLOUT_ENDS,
    ROLLOUT_FAULTS,
    ROLLOUT_LEADER,
    ROLLOUT_PHASE,
    ROLLOUT_WEIGHT,
)
from sextant_plan.errors import SextantError
from sextant_serving.rollout.cluster import ClusterRollouts
from sextant_serving.rollout.kserve import GROUP
from sextant_serving.rollout.lease import Lease
from sextant_serving.rollout.state import Phase, RolloutState

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

_log = logging.getLogger(__name__)

TICK_SECONDS = 2.0


class ControllerMetrics:
    """The controller's own series, by the catalogue's names."""

    def __init__(self, registry: CollectorRegistry, namespace: str) -> None:
        import prometheus_client

        kinds = {"gauge": prometheus_client.Gauge, "counter": prometheus_client.Counter}
        self._series: dict[str, Any] = {
            name: kinds[series.type](name, series.help, series.labels, registry=registry)
            for name, series in CONTROLLER.items()
        }
        self._namespace = namespace

    def lead(self, *, leading: bool) -> None:
        """Show whether this controller acts."""
        self._series[ROLLOUT_LEADER.name].set(leading)

    def show(self, name: str, before: RolloutState | None, after: RolloutState) -> None:
        """Show where a rollout stands, and count its end once."""
        self._series[ROLLOUT_WEIGHT.name].labels(self._namespace, name).set(after.weight)
        for phase in Phase:
            self._series[ROLLOUT_PHASE.name].labels(self._namespace, name, phase).set(phase is after.phase)
        if after.terminal and before is not None and not before.terminal:
            self._series[ROLLOUT_ENDS.name].labels(self._namespace, name, after.phase).inc()

    def count_fault(self, name: str) -> None:
        """Count a step that could not be taken."""
        self._series[ROLLOUT_FAULTS.name].labels(self._namespace, name).inc()


class Controller:
    """Steps the rollouts in turn; a fault of one is logged and keeps no other from its step."""

    def __init__(self, rollouts: ClusterRollouts, lease: Lease, metrics: ControllerMetrics) -> None:
        self._rollouts, self._lease, self._metrics = rollouts, lease, metrics
        self._last: dict[str, RolloutState] = {}
        self.names: set[str] = set()

    def step(self) -> bool:
        """Take one step of every rollout if the lease is ours; tell whether it is. Never raises."""
        try:
            leading = self._lease.hold()
        except Exception as error:  # a token that cannot be read is a reason to wait, and none to step no more
            _warn("no lease", error)
            leading = False
        self._metrics.lead(leading=leading)
        if leading:
            for name in sorted(self.names.copy()):  # the watch changes it meanwhile
                self._step_one(name)
        return leading

    def _step_one(self, name: str) -> None:
        try:
            state = self._rollouts.tick(name)
        except Exception as error:  # whatever one object or one server does must not stop the others' rollouts
            _warn(name, error)
            self._metrics.count_fault(name)
            return
        self._metrics.show(name, self._last.get(name), state)
        self._last[name] = state

    def close(self) -> None:
        """Give the lease back."""
        try:
            self._lease.release()
        except SextantError as error:
            _log.warning("the lease runs out by itself: %s", error)


def _warn(what: str, error: Exception) -> None:
    known = isinstance(error, SextantError)
    _log.warning("%s: %s", what, error if known else type(error).__name__, exc_info=not known)


def run_controller(controller: Controller, namespace: str, stop: threading.Event | None = None) -> None:
    """Watch the namespace and step its rollouts until SIGTERM, SIGINT or `stop`."""
    import kopf

    from sextant_serving.rollout.annotations import RELEASE

    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def _log_in(**about: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_via_client(**about)

    # An event handler leaves no finalizer behind: a service can be deleted while no controller runs.
    @kopf.on.event(GROUP, "v1beta1", "inferenceservices", registry=registry)
    def _note(name: str | None, annotations: Any, type: str | None, **_: Any) -> None:  # noqa: A002 - kopf's name
        assert name is not None
        if type == "DELETED" or RELEASE not in annotations:
            controller.names.discard(name)
        else:
            controller.names.add(name)

    tasks: list[asyncio.Task[None]] = []

    @kopf.on.startup(registry=registry)
    async def _start(**_: Any) -> None:
        tasks.append(asyncio.create_task(_keep_stepping(controller)))

    @kopf.on.cleanup(registry=registry)
    async def _end(**_: Any) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(controller.close)

    settings = kopf.OperatorSettings()
    # The controller's account sees one namespace. kopf would ask for all of them nine times before it watches this one.
    settings.scanning.disabled = True
    kopf.run(registry=registry, settings=settings, namespaces=[namespace], standalone=True, stop_flag=stop)


async def _keep_stepping(controller: Controller) -> None:
    while True:
        await asyncio.to_thread(controller.step)
        await asyncio.sleep(TICK_SECONDS)
