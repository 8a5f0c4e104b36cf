"""A canary of KServe in Standard mode: two predictors of one InferenceService behind weighted HTTP routes.

KServe makes a Deployment and a Service `<service>-<predictor>-predictor` for each predictor, and the routes `<service>`
and `<service>-predictor` with both as backends. Nothing but the InferenceService is written here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sextant_plan.errors import InfrastructureError
from sextant_serving.rollout.kube import Json, Kube, is_true, pointer
from sextant_serving.rollout.ports import Arm

GROUP = "serving.kserve.io"
# What KServe refuses in a canary, which has as many pods as its minReplicas say: the stable predictor's alone.
# Source: validateCanarySpecs in KServe's pkg/apis/serving/v1beta1/inference_service_validation.go, 0.20.
SCALING = ("maxReplicas", "scaleTarget", "scaleMetric", "scaleMetricType", "autoScaling")


class ServiceUnfit(InfrastructureError):
    """An InferenceService that is gone, or is not the one that the release was made for."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"InferenceService {name}: {problem}")


def service_path(namespace: str, name: str) -> str:
    """Return the API path of an InferenceService."""
    return f"/apis/{GROUP}/v1beta1/namespaces/{namespace}/inferenceservices/{name}"


def read_service(kube: Kube, namespace: str, name: str) -> Json:
    """Return an InferenceService. Raises ServiceUnfit if it is gone."""
    found = kube.get(service_path(namespace, name))
    if found is None:
        raise ServiceUnfit(name, "it is gone, and its rollout with it")
    return found


@dataclass(frozen=True)
class KServeTraffic:
    """The traffic of one InferenceService; `predictors` are its predictors' names by arm."""

    kube: Kube
    namespace: str
    name: str
    predictors: dict[Arm, str]

    @property
    def path(self) -> str:
        """The object's API path."""
        return service_path(self.namespace, self.name)

    def read(self) -> Json:
        """Return the object. Raises ServiceUnfit if it is gone."""
        return read_service(self.kube, self.namespace, self.name)

    def canary_ready(self) -> bool:
        """Tell whether KServe says that the canary's pods are available."""
        return is_true(self.read().get("status", {}).get("conditions", []), "CanaryPredictorReady")

    def set_weight(self, percent: int) -> None:
        """Ask for this weight; nothing is written if the object asks for it already."""
        canary = self._canary(self.read())
        if canary is None:
            raise ServiceUnfit(self.name, f"it has no canary {self.predictors['canary']}. Submit the release again")
        if canary.get("trafficPercent") != percent:
            add = {"op": "add", "path": pointer("spec", "canary", 0, "trafficPercent"), "value": percent}
            self.kube.patch(self.path, [self._is_canary(), add])

    def carried_weight(self) -> int | None:
        """Return the canary's share by every rule of both routes, None unless all are accepted and agree."""
        shares = {self._share(rule) for rule in self._rules()}
        return shares.pop() if len(shares) == 1 else None

    def replace_stable(self) -> None:
        """Rename the stable predictor to the canary's and drop the canary: its pods stay, and so does how it scales."""
        document = self.read()
        if self._canary(document) is not None:
            canary, predictor = pointer("spec", "canary"), pointer("spec", "predictor")
            stable = document["spec"]["predictor"]
            moved = {"op": "move", "from": f"{canary}/0/predictor", "path": predictor}
            kept = [
                {"op": "add", "path": f"{predictor}/{field}", "value": stable[field]}
                for field in SCALING
                if field in stable
            ]
            self.kube.patch(self.path, [self._is_canary(), moved, *kept, {"op": "remove", "path": canary}])
        elif document["spec"]["predictor"].get("name") != self.predictors["canary"]:
            raise ServiceUnfit(self.name, "somebody took the canary away before it could replace the stable version")

    def remove_canary(self) -> None:
        """Drop the canary; its pods go."""
        if self._canary(self.read()) is not None:
            remove = {"op": "remove", "path": pointer("spec", "canary")}
            self.kube.patch(self.path, [self._is_canary(), remove])

    def serves_alone(self, arm: Arm) -> bool:
        """Tell whether the routes send every request to one predictor and the object has no other."""
        document, rules = self.read(), list(self._rules())
        only = not document["spec"].get("canary") and document["spec"]["predictor"].get("name") == self.predictors[arm]
        service = self._service(arm)
        return only and bool(rules) and all(set(_weights(rule)) == {service} for rule in rules)

    def _canary(self, document: Json) -> Json | None:
        entries: list[Json] = document["spec"].get("canary") or []
        if entries and entries[0]["predictor"].get("name") == self.predictors["canary"]:
            return entries[0]
        return None

    def _is_canary(self) -> Json:
        path = pointer("spec", "canary", 0, "predictor", "name")
        return {"op": "test", "path": path, "value": self.predictors["canary"]}

    def _service(self, arm: Arm) -> str:
        return f"{self.name}-{self.predictors[arm]}-predictor"

    def _rules(self) -> Iterator[Json]:
        """Yield the rules of both routes; nothing where one of them is not accepted as it is written now."""
        rules: list[Json] = []
        for name in (self.name, f"{self.name}-predictor"):
            route = self.kube.get(f"/apis/gateway.networking.k8s.io/v1/namespaces/{self.namespace}/httproutes/{name}")
            if route is None or not _is_in_force(route):
                return
            rules += route["spec"]["rules"]
        yield from rules

    def _share(self, rule: Json) -> int | None:
        weights = _weights(rule)
        total = sum(weights.values())
        known = set(weights) <= {self._service("stable"), self._service("canary")}
        return round(100 * weights.get(self._service("canary"), 0) / total) if known and total else None


def _is_in_force(route: Json) -> bool:
    parents: list[dict[str, Any]] = route.get("status", {}).get("parents", [])
    generation = route["metadata"]["generation"]
    return bool(parents) and all(
        is_true(parent.get("conditions", []), kind, generation=generation)
        for parent in parents
        for kind in ("Accepted", "ResolvedRefs")
    )


def _weights(rule: Json) -> dict[str, int]:
    """Return the weight of each backend; the Gateway API's default is 1."""
    return {backend["name"]: int(backend.get("weight", 1)) for backend in rule.get("backendRefs", [])}
