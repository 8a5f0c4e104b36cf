"""Drill dead-pod on a cluster: a pod of the service itself is deleted without grace while clients ask.

What notices it is the plan's alert as Prometheus evaluates it, without the alert's hold. A service of several pods has
another one ready, so that no alert is due: there it is the cluster that has to miss the pod.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sextant_components.drills.detectors import Detector
from sextant_components.drills.result import Result
from sextant_components.drills.stage import IN_USE, Stage, asking, seconds_until
from sextant_plan.errors import UsageError

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


def rehearse(stage: Stage, detector: Detector, site: Site) -> Result:
    """Delete one ready pod, and wait until as many are ready as before.

    Raises UsageError where none is ready, and InfrastructureError if the API server or Prometheus does not answer.
    """
    service = stage.active.name
    before = site.ready(service)
    if not before:
        raise UsageError(f"{site.namespace}/{service}: no pod is ready, so none can be taken away. Mend it first.")
    victim = min(before)
    with asking(stage, site.url) as load:
        load.wait_for(IN_USE)
        pod = site.pods(service)[victim]["metadata"]
        began = time.monotonic()
        path = f"/api/v1/namespaces/{site.namespace}/pods/{pod['name']}"
        site.kube.delete(path, uid=victim, grace_seconds=0)
        alone = len(before) == 1
        detected = seconds_until(lambda: _is_noticed(site, service, detector, before, alone=alone), since=began)
        recovered = seconds_until(lambda: len(site.ready(service) - {victim}) >= len(before), since=began)
    return Result(
        fault=f"one of {len(before)} pods is deleted without grace",
        detected_after=detected,
        detected_by=None if alone else "the cluster, which starts another pod",
        recovery="another pod is started and has replayed its golden requests",
        recovered_after=recovered,
        requests=load.requests,
        failed=load.failed,
        facts={"namespace": site.namespace, "pods": len(before)},
    )


def _is_noticed(site: Site, service: str, detector: Detector, before: set[str], *, alone: bool) -> bool:
    from sextant_serving.rollout.prometheus import ask

    if not alone:
        return bool(site.pods(service).keys() - before)
    return any(ask(site.prometheus, expression, time.time()) for expression in detector.expressions())
