"""One step of one InferenceService's rollout on a cluster: its documents, its ports, its events."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sextant_plan import __version__
from sextant_plan.canary_criteria import canary_criteria, runs_in_one_server
from sextant_plan.ledger import LedgerWriter, Origin
from sextant_plan.verdicts import Verdict
from sextant_serving.registry import Registry
from sextant_serving.rollout.admission import Refusal, admit
from sextant_serving.rollout.annotations import RELEASE, AnnotationState, read_notes, read_release, read_wishes
from sextant_serving.rollout.comparing import WORTH_SERIES
from sextant_serving.rollout.increments import series_wanted
from sextant_serving.rollout.journal import RegistryJournal
from sextant_serving.rollout.kserve import KServeTraffic
from sextant_serving.rollout.kube import Json, Kube
from sextant_serving.rollout.machine import Ports, Rollout
from sextant_serving.rollout.one_server import OneServerTraffic, Role, stored_challenger
from sextant_serving.rollout.ports import Arm
from sextant_serving.rollout.prometheus import PrometheusCounters
from sextant_serving.rollout.release import Release
from sextant_serving.rollout.state import Phase, RolloutState

SETTLE_SECONDS = 5.0  # from the route's status to the last gateway's table; measured at under one
SCRAPES_BACK = 2  # every server has been scraped up to two intervals ago
WORRYING = frozenset({Phase.WITHDRAWING, Phase.HOLDING, Phase.REFUSED})


@dataclass(frozen=True)
class ClusterRollouts:
    """What the rollouts of one namespace share; `home` keeps the ledgers, `scrape_interval` is in seconds."""

    kube: Kube
    registry: Registry
    home: Path
    namespace: str
    prometheus: str
    scrape_interval: float
    clock: Callable[[], float] = time.time

    def tick(self, name: str) -> RolloutState:
        """Take one step of one rollout. Raises InfrastructureError, after which the same step may be tried again."""
        noted = read_notes(self.kube, self.namespace, name)
        release = read_release(self.kube, self.namespace, noted.get(RELEASE, ""))
        rollout = Rollout(release.digest, release.read_plan(), self._ports(name, release), settle=self._settle)
        return rollout.tick(self.clock(), read_wishes(noted))

    @property
    def _lag(self) -> float:
        return SCRAPES_BACK * self.scrape_interval

    @property
    def _settle(self) -> float:
        """The first reading at a weight must not reach back to before it was carried."""
        return SETTLE_SECONDS + self._lag

    def _ports(self, name: str, release: Release) -> Ports:
        predictors: dict[Arm, str] = {"stable": release.stable, "canary": release.canary}
        plan = release.read_plan()
        traffic: KServeTraffic | OneServerTraffic
        if runs_in_one_server(plan):
            role: Role = "shadow" if plan.rollout.strategy == "shadow" else "ab"
            traffic = OneServerTraffic(self.kube, self.namespace, name, predictors, role, release.digest)
        else:
            traffic = KServeTraffic(self.kube, self.namespace, name, predictors)
        counters = PrometheusCounters(
            self.prometheus,
            self.namespace,
            name,
            predictors,
            series_wanted(canary_criteria(plan), WORTH_SERIES if runs_in_one_server(plan) else ()),
            self._lag,
            lambda: self._pod_starts(name),
            self.clock,
        )
        origin = Origin(release.run_id, release.plan_hash, __version__, "sextant-cluster")
        ledger = self.home / "runs" / release.run_id
        journal = RegistryJournal(
            release,
            self.registry,
            lambda: LedgerWriter(ledger, "roll_out", "deployment", origin),
            lambda before, after: self._announce(traffic, before, after),
        )

        def refusal() -> Refusal | None:
            problems = _against_object(traffic.read(), release)
            return problems[0] if problems else admit(release, self.registry.digest_of)

        return Ports(refusal, traffic, counters, AnnotationState(self.kube, self.namespace, name), journal)

    def _pod_starts(self, name: str) -> dict[str, float]:
        """Return when each pod's server last began, as Unix time."""
        found = self.kube.get(
            f"/api/v1/namespaces/{self.namespace}/pods", labelSelector=f"serving.kserve.io/inferenceservice={name}"
        )
        starts = {}
        for pod in (found or {}).get("items", []):
            for status in pod.get("status", {}).get("containerStatuses", []):
                begun = status.get("state", {}).get("running", {}).get("startedAt")
                if status["name"] == "kserve-container" and begun:
                    starts[pod["metadata"]["name"]] = datetime.fromisoformat(begun).timestamp()
        return starts

    def _announce(self, traffic: KServeTraffic | OneServerTraffic, before: RolloutState, after: RolloutState) -> None:
        """Write an event for a change of phase or weight."""
        if (before.phase, before.weight) == (after.phase, after.weight):
            return
        document = traffic.read()
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        metadata = document["metadata"]
        self.kube.create(
            f"/api/v1/namespaces/{self.namespace}/events",
            {
                "metadata": {"generateName": f"{metadata['name']}-rollout-", "namespace": self.namespace},
                "involvedObject": {
                    "apiVersion": document["apiVersion"],
                    "kind": document["kind"],
                    "name": metadata["name"],
                    "namespace": self.namespace,
                    "uid": metadata["uid"],
                },
                "type": "Warning" if after.phase in WORRYING else "Normal",
                "reason": "Rollout" + "".join(part.capitalize() for part in after.phase.split("-")),
                "message": f"weight {after.weight} %" + (f": {after.reason}" if after.reason else ""),
                "source": {"component": "sextant-rollout"},
                "firstTimestamp": now,
                "lastTimestamp": now,
                "count": 1,
            },
        )


def _against_object(document: Json, release: Release) -> list[Refusal]:
    """Return what is wrong with the InferenceService that the release is to be rolled out on."""
    name, spec = document["metadata"]["name"], document["spec"]
    problems = []
    if name != release.name:
        problems.append(f"the release is of {release.name}, and this InferenceService is {name}")
    if spec["predictor"].get("name") != release.stable:
        problems.append(f"the predictor in service is not {release.stable}")
    if runs_in_one_server(release.read_plan()):
        stored = stored_challenger(spec["predictor"])
    else:
        stored = spec["canary"][0]["predictor"].get("model", {}).get("storageUri", "")
    if release.digest.removeprefix("sha256:") not in stored:
        problems.append("the canary's storageUri does not name the bundle's digest")
    return [Refusal(Verdict.UNKNOWN, problem, "Submit the release again") for problem in problems]
