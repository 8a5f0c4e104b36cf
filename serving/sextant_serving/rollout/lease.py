"""A Lease of Kubernetes, so that of several controllers one acts.

Whether another's lease has run out is judged by how long this process has seen it unchanged, not by the other's clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sextant_serving.rollout.kube import Json, Kube, ObjectMoved

LEASE_SECONDS = 15


@dataclass
class Lease:
    """One named lease; `identity` is who asks. Call `hold` well within LEASE_SECONDS to keep it."""

    kube: Kube
    namespace: str
    name: str
    identity: str
    clock: Callable[[], float] = time.monotonic
    _seen: tuple[str, float] = field(default=("", 0.0), init=False)

    def hold(self) -> bool:
        """Take or renew the lease; tell whether it is ours."""
        found = self.kube.get(f"{self._folder}/{self.name}")
        if found is None:
            return self.kube.create(self._folder, self._lease())
        holder, version = found["spec"].get("holderIdentity") or "", found["metadata"]["resourceVersion"]
        if holder and holder != self.identity and not self._has_run_out(version):
            return False
        try:
            self.kube.replace(f"{self._folder}/{self.name}", self._lease(version))
        except ObjectMoved:
            return False
        return True

    def release(self) -> None:
        """Give the lease back, so that the next controller need not wait."""
        found = self.kube.get(f"{self._folder}/{self.name}")
        if found is not None and found["spec"].get("holderIdentity") == self.identity:
            empty = self._lease(found["metadata"]["resourceVersion"])
            empty["spec"]["holderIdentity"] = ""
            self.kube.replace(f"{self._folder}/{self.name}", empty)

    def _has_run_out(self, version: str) -> bool:
        if self._seen[0] != version:
            self._seen = (version, self.clock())
        return self.clock() - self._seen[1] > LEASE_SECONDS

    @property
    def _folder(self) -> str:
        return f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases"

    def _lease(self, version: str | None = None) -> Json:
        metadata = {"name": self.name, "namespace": self.namespace}
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {**metadata, "resourceVersion": version} if version else metadata,
            "spec": {
                "holderIdentity": self.identity,
                "leaseDurationSeconds": LEASE_SECONDS,
                "renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            },
        }
