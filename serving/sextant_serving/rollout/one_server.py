"""A/B and shadow on a cluster: the challenger beside the champion in the predictor's own servers.

The InferenceService says all of it: a volume with the challenger's bundle, and the option that gives the challenger
its share. KServe rolls the pods for every change, so a weight is carried when each pod runs with it. The predictor
keeps its name, which is the champion's variant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sextant_plan.errors import UsageError
from sextant_serving.rollout.kserve import ServiceUnfit, read_service, service_path
from sextant_serving.rollout.kube import Json, Kube, is_true, pointer
from sextant_serving.rollout.ports import Arm

Role = Literal["ab", "shadow"]
VOLUME, MOUNT = "sextant-challenger", "/mnt/challenger"
OPTIONS = {"ab": "--challenger", "shadow": "--shadow"}
CLAIM = "pvc://"
PREDICTOR = pointer("spec", "predictor")


@dataclass(frozen=True)
class OneServerTraffic:
    """The shares within one predictor's servers; `variants` are by arm, `digest` is the challenger's."""

    kube: Kube
    namespace: str
    name: str
    variants: dict[Arm, str]
    role: Role
    digest: str

    def read(self) -> Json:
        """Return the InferenceService. Raises ServiceUnfit if it is gone."""
        return read_service(self.kube, self.namespace, self.name)

    def canary_ready(self) -> bool:
        """Tell whether the challenger answers somewhere: while the pods roll for a new share, not in each of them.

        That all of them have it at its first share is for `carried_weight` to say.
        """
        return any(_is_ready(pod) and self._share_of(_arguments(pod)) is not None for pod in self._pods())

    def set_weight(self, percent: int) -> None:
        """Ask for this share; at 100 a shadow answers too, so that the change of the champion changes no answer."""
        model = self.read()["spec"]["predictor"]["model"]
        found: list[str] = model.get("args", [])
        if self._share_of(found) is None:
            raise ServiceUnfit(self.name, f"it has no challenger {self.variants['canary']}. Submit the release again")
        role: Role = "ab" if percent == 100 else self.role
        wanted = [*self._without_challenger(found), challenger_argument(role, self.variants["canary"], percent)]
        if wanted != found:
            self._patch({"op": "replace", "path": f"{PREDICTOR}/model/args", "value": wanted}, found)

    def carried_weight(self) -> int | None:
        """Return the share that every pod runs with, None while they differ or one has yet to end."""
        shares = {self._share_of(_arguments(pod)) if _is_ready(pod) else None for pod in self._pods()}
        return shares.pop() if len(shares) == 1 else None

    def replace_stable(self) -> None:
        """Make the challenger's bundle the predictor's own, and take the challenger away."""
        predictor = self.read()["spec"]["predictor"]
        if self._share_of(predictor["model"].get("args", [])) is not None:
            uri = _uri_of(predictor)
            self._take_away(predictor, {"op": "replace", "path": f"{PREDICTOR}/model/storageUri", "value": uri})

    def remove_canary(self) -> None:
        """Take the challenger away; the champion stays."""
        predictor = self.read()["spec"]["predictor"]
        if self._share_of(predictor["model"].get("args", [])) is not None:
            self._take_away(predictor)

    def serves_alone(self, arm: Arm) -> bool:
        """Tell whether every pod runs without a challenger, and the predictor's bundle is this arm's."""
        pods, model = self._pods(), self.read()["spec"]["predictor"]["model"]
        is_challengers = self.digest.removeprefix("sha256:") in model.get("storageUri", "")
        alone = all(_is_ready(pod) and self._share_of(_arguments(pod)) is None for pod in pods)
        own = is_challengers == (arm == "canary") and self._share_of(model.get("args", [])) is None
        return bool(pods) and alone and own

    def _take_away(self, predictor: Json, *more: Json) -> None:
        model = predictor["model"]
        found: list[str] = model["args"]
        operations: list[Json] = [
            *more,
            {"op": "replace", "path": f"{PREDICTOR}/model/args", "value": self._without_challenger(found)},
            *_removals(f"{PREDICTOR}/model/volumeMounts", model.get("volumeMounts", [])),
            *_removals(f"{PREDICTOR}/volumes", predictor.get("volumes", [])),
        ]
        self.kube.patch(service_path(self.namespace, self.name), [self._is_as_found(found), *operations])

    def _patch(self, operation: Json, found: list[str]) -> None:
        self.kube.patch(service_path(self.namespace, self.name), [self._is_as_found(found), operation])

    @staticmethod
    def _is_as_found(arguments: list[str]) -> Json:
        return {"op": "test", "path": f"{PREDICTOR}/model/args", "value": arguments}

    def _pods(self) -> list[Json]:
        label = f"serving.kserve.io/inferenceservice={self.name}"
        found = self.kube.get(f"/api/v1/namespaces/{self.namespace}/pods", labelSelector=label)
        return [] if found is None else list(found["items"])

    def _share_of(self, arguments: list[str]) -> int | None:
        """Return the challenger's share by a server's arguments, None without one."""
        starts = tuple(f"{option}={self.variants['canary']}={MOUNT}:" for option in OPTIONS.values())
        shares = [argument.rpartition(":")[2] for argument in arguments if argument.startswith(starts)]
        return int(shares[0]) if shares else None

    def _without_challenger(self, arguments: list[str]) -> list[str]:
        starts = tuple(f"{option}={self.variants['canary']}=" for option in OPTIONS.values())
        return [argument for argument in arguments if not argument.startswith(starts)]


def challenger_argument(role: Role, variant: str, percent: int) -> str:
    """Return the server's option that gives a challenger its share."""
    return f"{OPTIONS[role]}={variant}={MOUNT}:{percent}"


def challenger_patch(predictor: Json, *, role: Role, variant: str, storage_uri: str) -> list[Json]:
    """Return the JSON patch that puts a challenger without traffic into a predictor.

    Raises UsageError unless `storage_uri` names a claim other than the champion's: KServe fetches one bundle for a
    predictor, so a second one comes as a volume, and a kubelet never starts a pod that mounts one claim twice (seen of
    Kubernetes 1.34).
    """
    claim, _, folder = storage_uri.removeprefix(CLAIM).partition("/")
    if not storage_uri.startswith(CLAIM) or not claim:
        raise UsageError(f"--storage-uri {storage_uri}: a challenger in the same server needs pvc://CLAIM/FOLDER.")
    model = predictor["model"]
    if model.get("storageUri", "").startswith((f"{CLAIM}{claim}/", f"{CLAIM}{claim}?")):
        raise UsageError(
            f"--storage-uri {storage_uri}: the champion's bundle is on the claim {claim} too, and a pod cannot mount a "
            "claim twice. Put the challenger's bundle on a second claim; the two take turns."
        )
    volume = {"name": VOLUME, "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
    mount = {"name": VOLUME, "mountPath": MOUNT, "readOnly": True} | ({"subPath": folder} if folder else {})
    arguments = [*model.get("args", []), challenger_argument(role, variant, 0)]
    return [
        {"op": "add", "path": f"{PREDICTOR}/model/args", "value": arguments},
        {"op": "add", "path": f"{PREDICTOR}/volumes", "value": [*predictor.get("volumes", []), volume]},
        {"op": "add", "path": f"{PREDICTOR}/model/volumeMounts", "value": [*model.get("volumeMounts", []), mount]},
    ]


def stored_challenger(predictor: Json) -> str:
    """Return the storage URI of the challenger in a predictor, empty without one."""
    named = any(volume["name"] == VOLUME for volume in predictor.get("volumes", []))
    return _uri_of(predictor) if named else ""


def _uri_of(predictor: Json) -> str:
    (claim,) = [
        volume["persistentVolumeClaim"]["claimName"] for volume in predictor["volumes"] if volume["name"] == VOLUME
    ]
    (mount,) = [mount for mount in predictor["model"]["volumeMounts"] if mount["name"] == VOLUME]
    folder = mount.get("subPath", "")
    return f"{CLAIM}{claim}/{folder}" if folder else f"{CLAIM}{claim}"


def _removals(path: str, entries: list[Json]) -> list[Json]:
    """Return the operations that remove the challenger's entry from a list, and the list if nothing is left."""
    kept = [entry for entry in entries if entry["name"] != VOLUME]
    if len(kept) == len(entries):
        return []
    return [{"op": "replace", "path": path, "value": kept} if kept else {"op": "remove", "path": path}]


def _arguments(pod: Json) -> list[str]:
    containers = [each for each in pod["spec"]["containers"] if each["name"] == "kserve-container"]
    return [argument for each in containers for argument in each.get("args", [])]


def _is_ready(pod: Json) -> bool:
    """Tell whether a pod answers and is to stay."""
    leaving = "deletionTimestamp" in pod["metadata"]
    return not leaving and is_true(pod.get("status", {}).get("conditions", []), "Ready")
