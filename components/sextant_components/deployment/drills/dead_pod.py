"""Drill dead-pod on a cluster: a pod of the service itself is deleted without grace while clients ask.

What notices it is the plan's alert as Prometheus evaluates it, without the alert's hold. Where no alert is due the
cluster has to miss the pod: a service of several pods has another one ready, and an outage that is over between two
scrapes of Prometheus was shorter than any alert's hold.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sextant_components.deployment.drills.detectors import Detector
from sextant_components.deployment.drills.result import Result
from sextant_components.deployment.drills.stage import IN_USE, Stage, asking, seconds_until
from sextant_plan.catalogue import READY
from sextant_plan.errors import UsageError
from sextant_plan.presence_rules import ReadyRule
from sextant_plan.window import Selector

if TYPE_CHECKING:
    from sextant_serving.rollout.kube import Json, Kube


@dataclass(frozen=True)
class Site:
    """A service on a cluster: the InferenceService's namespace, its Prometheus, and where clients reach it."""

    kube: Kube
    namespace: str
    prometheus: str
    url: str

    def pods(self, service: str) -> dict[str, Json]:
        """Return the pods of an InferenceService by uid, those on their way out left away."""
        label = f"serving.kserve.io/inferenceservice={service}"
        found = self.kube.get(f"/api/v1/namespaces/{self.namespace}/pods", labelSelector=label) or {"items": []}
        return {pod["metadata"]["uid"]: pod for pod in found["items"] if "deletionTimestamp" not in pod["metadata"]}

    def ready(self, service: str) -> set[str]:
        """Return the uids of the pods that are ready."""
        from sextant_serving.rollout.kube import is_true

        return {
            uid for uid, pod in self.pods(service).items()
            if is_true(pod.get("status", {}).get("conditions", []), "Ready")
        }  # fmt: skip

    def holds(self, expressions: Sequence[str]) -> bool:
        """Tell whether one of the expressions has a series in Prometheus now."""
        from sextant_serving.rollout.prometheus import ask

        return any(ask(self.prometheus, expression, time.time()) for expression in expressions)

    def last_ready(self, service: str) -> float:
        """Return the Unix time of the last scrape that found a ready server of the service, 0 for none of late."""
        from sextant_serving.rollout.prometheus import ask

        ready = Selector.of(READY.name, model=service).promql()
        found = ask(self.prometheus, f"max(timestamp({ready}) and {ready} == 1)", time.time())
        return float(found[0]["value"][1]) if found else 0.0


@dataclass
class Outage:
    """What came of a pod that was taken, and after how many seconds; None for what has not come.

    `alone` tells whether it was the only one, `short_is_silent` whether its alert is on readiness, which an outage
    between two scrapes does not reach. `alarmed`: the alert held. `replaced`: another pod was there. `recovered`: as
    many were ready as before. `scraped`: Prometheus has found one ready since, so that such an alert is past.
    """

    alone: bool
    short_is_silent: bool
    alarmed: float | None = None
    replaced: float | None = None
    recovered: float | None = None
    scraped: bool = False

    @property
    def without_alert(self) -> bool:
        """Whether none is due, so that it is the cluster's part to notice."""
        return not self.alone or (self.short_is_silent and self.alarmed is None and self.scraped)

    def is_over(self) -> bool:
        """Tell whether nothing more will come of it that a drill asks for."""
        return self.recovered is not None and (self.without_alert or self.alarmed is not None)

    @property
    def noticed_by(self) -> tuple[str | None, float | None]:
        """What noticed it and when; None stands for the plan's alert."""
        if not self.without_alert:
            return None, self.alarmed
        between = ", between two scrapes" if self.alone else ""
        return f"the cluster, which starts another pod{between}", self.replaced


def rehearse(stage: Stage, detector: Detector, site: Site) -> Result:
    """Delete one ready pod, and wait until as many are ready as before.

    Raises UsageError where none is ready or the alert holds before anything was done, and InfrastructureError if the
    API server or Prometheus does not answer.
    """
    service = stage.active.name
    before = site.ready(service)
    if not before:
        raise UsageError(f"{site.namespace}/{service}: no pod is ready, so none can be taken away. Mend it first.")
    outage = Outage(len(before) == 1, any(isinstance(rule, ReadyRule) for rule in detector.rules))
    if outage.alone and site.holds(detector.expressions()):
        raise UsageError(
            f"{site.prometheus}: {detector.name}: its alert holds already, and cannot notice what is done to "
            f"{site.namespace}/{service}. Mend what it tells of, or have Prometheus scrape the service."
        )
    victim = min(before)
    with asking(stage, site.url) as load:
        load.wait_for(IN_USE)
        pod = site.pods(service)[victim]["metadata"]
        began = time.monotonic()
        path = f"/api/v1/namespaces/{site.namespace}/pods/{pod['name']}"
        site.kube.delete(path, uid=victim, grace_seconds=0)
        follower = Follower(outage, site, service, detector.expressions(), victim, before, began)
        seconds_until(follower.look, since=began)
    detected_by, detected_after = outage.noticed_by
    return Result(
        fault=f"one of {len(before)} pods is deleted without grace",
        detected_after=detected_after,
        detected_by=detected_by,
        recovery="another pod is started and has replayed its golden requests",
        recovered_after=outage.recovered,
        requests=load.requests,
        failed=load.failed,
        facts={"namespace": site.namespace, "pods": len(before)},
    )


@dataclass
class Follower:
    """Writes into `outage` what comes of it, in seconds from `began` (monotonic)."""

    outage: Outage
    site: Site
    service: str
    expressions: Sequence[str]
    victim: str
    before: set[str]  # the uids of the pods that were ready, the victim's among them
    began: float
    _last_ready: float = 0.0

    def look(self) -> bool:
        """Note what has come since the last look; tell whether it is over."""
        outage = self.outage
        if outage.alone and outage.alarmed is None and self.site.holds(self.expressions):
            outage.alarmed = self._seconds()
        if outage.replaced is None and self.site.pods(self.service).keys() - self.before:
            outage.replaced = self._seconds()
        if outage.recovered is None:
            if len(self.site.ready(self.service) - {self.victim}) >= len(self.before):
                outage.recovered = self._seconds()
                self._last_ready = self.site.last_ready(self.service) if outage.alone else 0.0
        else:
            outage.scraped = self.site.last_ready(self.service) > self._last_ready
        return outage.is_over()

    def _seconds(self) -> float:
        return time.monotonic() - self.began
