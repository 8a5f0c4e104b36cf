"""STAND-IN for KServe's controller, for clusters that have none: it does what the real one was seen to do, no more.

Seen of KServe 0.20 and 0.21 in Standard mode: for each predictor of an InferenceService a Deployment and a Service
`<service>-<predictor>-predictor` (port 80 to the container's), and once every predictor is available the HTTPRoutes
`<service>` and `<service>-predictor` with all of them as weighted backends. Predictors that are gone lose their Service
before the routes change, which is the order in which the real one was seen to lose requests. Conditions are
PredictorReady, CanaryPredictorReady, IngressReady and Ready. Usage: kserve_standin.py NAMESPACE IMAGE
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import time
from typing import Any

from sextant_plan.errors import InfrastructureError
from sextant_serving.rollout.kube import Json, Kube

POLL_SECONDS = 0.5
GATEWAY = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "kserve-ingress-gateway"}


class StandIn:
    """Reconciles the InferenceServices of one namespace; `image` runs in place of the runtime's."""

    def __init__(self, namespace: str, image: str) -> None:
        self._kube, self._namespace, self._image = Kube(), namespace, image
        self._applied: dict[str, str] = {}

    def reconcile(self) -> None:
        services = f"/apis/serving.kserve.io/v1beta1/namespaces/{self._namespace}/inferenceservices"
        found = (self._kube.get(services) or {}).get("items", [])
        self._forget_others([service["metadata"]["uid"] for service in found])
        for service in found:
            self._reconcile_one(service)

    def _reconcile_one(self, service: Json) -> None:
        name, spec = service["metadata"]["name"], service["spec"]
        canaries = spec.get("canary") or []
        weights = {entry["predictor"]["name"]: entry.get("trafficPercent", 0) for entry in canaries}
        stable = spec["predictor"]["name"]
        predictors = [spec["predictor"], *(entry["predictor"] for entry in canaries)]
        owner = {
            "apiVersion": service["apiVersion"], "kind": service["kind"], "name": name,
            "uid": service["metadata"]["uid"], "controller": True,
        }  # fmt: skip
        self._remove_others(name, [f"{name}-{predictor['name']}-predictor" for predictor in predictors])
        for predictor in predictors:
            self._apply(owner, *self._server(name, predictor))
        available = {predictor["name"]: self._is_available(name, predictor["name"]) for predictor in predictors}
        if all(available.values()):
            shares = {stable: 100 - sum(weights.values()), **weights}
            for route in (name, f"{name}-predictor"):
                self._apply(owner, self._route(name, route, shares))
        conditions = {
            "PredictorReady": available[stable],
            "CanaryPredictorReady": all(available[other] for other in weights),
            "IngressReady": all(available.values()),
            "Ready": all(available.values()),
        }
        if not canaries:
            del conditions["CanaryPredictorReady"]
        self._report(service, conditions)

    def _apply(self, owner: Json, *objects: Json) -> None:
        for item in objects:
            item["metadata"] = {**item["metadata"], "ownerReferences": [owner]}
            key, text = f"{item['kind']}/{item['metadata']['name']}", json.dumps(item, sort_keys=True)
            if self._applied.get(key) != text:
                self._kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", text=text)
                self._applied[key] = text

    def _forget_others(self, owners: list[str]) -> None:
        """The objects of a service that is gone are collected as their owner's; one of its name makes them anew."""
        self._applied = {
            key: text
            for key, text in self._applied.items()
            if json.loads(text)["metadata"]["ownerReferences"][0]["uid"] in owners
        }

    def _remove_others(self, service: str, wanted: list[str]) -> None:
        prefix = f"{service}-"
        for kind in ("Service", "Deployment"):
            gone = [
                key
                for key in self._applied
                if key.startswith(f"{kind}/{prefix}") and key.endswith("-predictor") and key.split("/")[1] not in wanted
            ]
            for key in gone:
                self._kubectl("delete", key.lower(), "--wait=false")
                del self._applied[key]

    def _kubectl(self, *arguments: str, text: str | None = None) -> None:
        command = ["kubectl", "--namespace", self._namespace, *arguments]
        subprocess.run(command, input=text, text=True, check=True, stdout=subprocess.DEVNULL)

    def _is_available(self, service: str, predictor: str) -> bool:
        name = f"{service}-{predictor}-predictor"
        found = self._kube.get(f"/apis/apps/v1/namespaces/{self._namespace}/deployments/{name}") or {}
        status = found.get("status", {})
        current = status.get("observedGeneration", 0) >= found.get("metadata", {}).get("generation", 1)
        return bool(current and status.get("availableReplicas", 0) >= 1)

    def _server(self, service: str, predictor: Json) -> list[Json]:
        runtimes = f"/apis/serving.kserve.io/v1alpha1/namespaces/{self._namespace}/servingruntimes"
        model = predictor["model"]
        runtime = self._kube.get(f"{runtimes}/{model['runtime']}")
        assert runtime is not None, f"no ServingRuntime {model['runtime']}"
        (container,) = copy.deepcopy(runtime["spec"]["containers"])
        claim, _, folder = model["storageUri"].removeprefix("pvc://").partition("/")
        mount = {"name": "model", "mountPath": "/mnt/models", "subPath": folder, "readOnly": True}
        container |= {"image": self._image, "imagePullPolicy": "Never", "name": "kserve-container"}
        container["args"] = [text.replace("{{.Name}}", service) for text in container["args"]] + model.get("args", [])
        container["volumeMounts"] = [*container.get("volumeMounts", []), *model.get("volumeMounts", []), mount]
        container["resources"] = model.get("resources", container.get("resources", {}))
        name = f"{service}-{predictor['name']}-predictor"
        labels = {"app": f"isvc.{name}", "serving.kserve.io/inferenceservice": service}
        volume = {"name": "model", "persistentVolumeClaim": {"claimName": claim}}
        pod = {
            "containers": [container],
            "volumes": [*runtime["spec"].get("volumes", []), *predictor.get("volumes", []), volume],
        }
        metadata = {"name": name, "namespace": self._namespace, "labels": labels}
        return [
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": metadata,
                "spec": {
                    "replicas": predictor.get("minReplicas", 1),
                    "selector": {"matchLabels": labels},
                    "template": {"metadata": {"labels": labels}, "spec": pod},
                },
            },
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": metadata,
                "spec": {"selector": {"app": labels["app"]}, "ports": [{"port": 80, "targetPort": 8080}]},
            },
        ]

    def _route(self, service: str, route: str, shares: dict[str, int]) -> Json:
        headers = [
            {"name": "KServe-Isvc-Name", "value": service},
            {"name": "KServe-Isvc-Namespace", "value": self._namespace},
        ]
        backends = [
            {"kind": "Service", "name": f"{service}-{name}-predictor", "port": 80, "weight": weight}
            for name, weight in shares.items()
        ]
        return {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {"name": route, "namespace": self._namespace},
            "spec": {
                "parentRefs": [{**GATEWAY, "namespace": "kserve"}],
                "hostnames": [f"{route}-{self._namespace}.example.com"],
                "rules": [
                    {
                        "matches": [{"path": {"type": "RegularExpression", "value": "^/.*$"}}],
                        "filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": headers}}],
                        "backendRefs": backends,
                        "timeouts": {"request": "60s"},
                    }
                ],
            },
        }

    def _report(self, service: Json, conditions: dict[str, bool]) -> None:
        reported = [{"type": kind, "status": str(value)} for kind, value in conditions.items()]
        if service.get("status", {}).get("conditions") != reported:
            path = (
                f"/apis/serving.kserve.io/v1beta1/namespaces/{self._namespace}"
                f"/inferenceservices/{service['metadata']['name']}/status"
            )
            self._kube.patch(path, [{"op": "add", "path": "/status", "value": {"conditions": reported}}])


def main(arguments: list[str]) -> Any:
    """Reconcile until killed; what fails is tried again."""
    namespace, image = arguments
    standin = StandIn(namespace, image)
    while True:
        try:
            standin.reconcile()
        except (InfrastructureError, subprocess.CalledProcessError) as error:
            print(error, file=sys.stderr, flush=True)
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1:])
