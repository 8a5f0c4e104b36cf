"""A rollout's documents on its InferenceService: state and wishes as annotations, the release in a ConfigMap."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

from pydantic import ValidationError

from sextant_plan.acceptance import AcceptanceRecord
from sextant_serving.rollout.kserve import SCALING, ServiceUnfit, read_service, service_path
from sextant_serving.rollout.kube import Json, Kube, ObjectMoved, pointer
from sextant_serving.rollout.one_server import challenger_patch, stored_challenger
from sextant_serving.rollout.release import Release
from sextant_serving.rollout.state import RolloutState, Wishes, starts_anew

RELEASE = "sextant.dev/release"  # the ConfigMap with release.json
STATE = "sextant.dev/rollout-state"
PHASE = "sextant.dev/rollout-phase"  # for people: what kubectl can show in a column
PAUSED, ABORT = "sextant.dev/paused", "sextant.dev/abort"
RESUMED_AT, ACCEPTANCE = "sextant.dev/resumed-at", "sextant.dev/acceptance"
WISHES = (PAUSED, ABORT, RESUMED_AT, ACCEPTANCE)
RELEASE_FILE = "release.json"


class StateMoved(ObjectMoved):
    """Another controller has saved a state since this one loaded it; what was done is repeated from there."""


@dataclass
class AnnotationState:
    """The state of one InferenceService; a save replaces the very text that was loaded, or raises StateMoved."""

    kube: Kube
    namespace: str
    name: str
    loaded: str | None = field(default=None, init=False)

    def load(self) -> RolloutState | None:
        """Return the state, None if there is none that can be read: a rollout then begins anew at weight 0."""
        self.loaded = read_notes(self.kube, self.namespace, self.name).get(STATE)
        try:
            return RolloutState.model_validate_json(self.loaded) if self.loaded else None
        except ValidationError:
            return None

    def save(self, state: RolloutState) -> None:
        """Replace the state that was loaded."""
        text, path = state.model_dump_json(exclude_defaults=True), pointer("metadata", "annotations", STATE)
        operations: list[Json] = []
        if self.loaded is not None:
            operations.append({"op": "test", "path": path, "value": self.loaded})
        operations += [
            {"op": "add", "path": path, "value": text},
            {"op": "add", "path": pointer("metadata", "annotations", PHASE), "value": _summary(state)},
        ]
        try:
            self.kube.patch(service_path(self.namespace, self.name), operations)
        except ObjectMoved as error:
            raise StateMoved("PATCH", self.name, "another controller has gone on with this rollout") from error
        self.loaded = text


def read_notes(kube: Kube, namespace: str, name: str) -> dict[str, str]:
    """Return an InferenceService's annotations. Raises ServiceUnfit if it is gone."""
    noted: dict[str, str] = read_service(kube, namespace, name)["metadata"].get("annotations") or {}
    return noted


def read_wishes(noted: dict[str, str]) -> Wishes:
    """Return what people ask for; an annotation that cannot be read asks for a pause, which harms nobody."""
    try:
        return Wishes(
            paused=noted.get(PAUSED) == "true",
            aborted=noted.get(ABORT) == "true",
            resumed_at=float(noted.get(RESUMED_AT, 0)),
            acceptance=AcceptanceRecord.model_validate_json(noted.get(ACCEPTANCE, "{}")),
        )
    except ValueError:
        return Wishes(paused=True, aborted=noted.get(ABORT) == "true")


def read_release(kube: Kube, namespace: str, config_map: str) -> Release:
    """Return the release in a ConfigMap. Raises ServiceUnfit if it is absent or malformed."""
    found = kube.get(f"/api/v1/namespaces/{namespace}/configmaps/{config_map}")
    if found is None:
        raise ServiceUnfit(config_map, f"its annotation {RELEASE} names a ConfigMap that is not there")
    try:
        return Release.model_validate_json(found.get("data", {}).get(RELEASE_FILE, ""))
    except ValidationError as error:
        where = ".".join(map(str, error.errors(include_input=False)[0]["loc"])) or RELEASE_FILE
        raise ServiceUnfit(config_map, f"the release is malformed at {where}. Submit it again") from error


@dataclass(frozen=True)
class ServiceDocuments:
    """The rollout of one InferenceService as people meet it: like `RolloutFolder`, on a cluster."""

    kube: Kube
    namespace: str
    name: str

    def release(self) -> Release | None:
        """Return the release, None if none was submitted."""
        config_map = read_notes(self.kube, self.namespace, self.name).get(RELEASE)
        return read_release(self.kube, self.namespace, config_map) if config_map else None

    def load(self) -> RolloutState | None:
        """Return the state, None before the controller's first save."""
        return AnnotationState(self.kube, self.namespace, self.name).load()

    def wish(self, change: Callable[[Wishes], Wishes]) -> None:
        """Change what is asked for. Raises ObjectMoved if somebody else did so at the same moment."""
        noted = read_notes(self.kube, self.namespace, self.name)
        wishes = change(read_wishes(noted))
        texts = {
            PAUSED: str(wishes.paused).lower(),
            ABORT: str(wishes.aborted).lower(),
            RESUMED_AT: f"{wishes.resumed_at:.0f}",
            ACCEPTANCE: wishes.acceptance.model_dump_json(),
        }
        operations: list[Json] = []
        for key, text in texts.items():
            path = pointer("metadata", "annotations", key)
            operations += [{"op": "test", "path": path, "value": noted[key]}] if key in noted else []
            operations.append({"op": "add", "path": path, "value": text})
        self.kube.patch(service_path(self.namespace, self.name), operations)

    def submit(self, release: Release, storage_uri: str) -> Release:
        """Put a release beside the service and its canary into it at weight 0; return the release as it was put.

        The canary is the stable predictor but for its name, its variant and its bundle, which `storage_uri` names by
        its digest. Raises ServiceUnfit if a canary is there already, NotAdmitted if this bundle was proved harmful.
        """
        document = self.kube.get(service_path(self.namespace, self.name))
        if document is None:
            raise ServiceUnfit(self.name, f"there is none in namespace {self.namespace}")
        if document["spec"].get("canary") or stored_challenger(document["spec"]["predictor"]):
            raise ServiceUnfit(self.name, "it has a canary already. Abort its rollout first, or let it end")
        forgotten = (*WISHES, STATE) if starts_anew(self.load(), release.digest) else WISHES
        stable = document["spec"]["predictor"].get("name") or ""
        canary = "green" if stable == "blue" else "blue"
        release = release.model_copy(update={"stable": stable, "canary": canary})
        config_map = f"{self.name}-release-{release.digest.removeprefix('sha256:')[:12]}"
        self._put_release(config_map, release)
        noted = document["metadata"].get("annotations") or {}
        operations: list[Json] = (
            [] if noted else [{"op": "add", "path": pointer("metadata", "annotations"), "value": {}}]
        )
        operations += [
            {"op": "remove", "path": pointer("metadata", "annotations", key)} for key in forgotten if key in noted
        ]
        operations += [
            {"op": "add", "path": pointer("metadata", "annotations", RELEASE), "value": config_map},
            *_beside(document["spec"]["predictor"], release, storage_uri),
        ]
        self.kube.patch(service_path(self.namespace, self.name), operations)
        return release

    def _put_release(self, name: str, release: Release) -> None:
        folder = f"/api/v1/namespaces/{self.namespace}/configmaps"
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": self.namespace},
            "data": {RELEASE_FILE: release.model_dump_json(indent=1)},
        }
        if not self.kube.create(folder, body):
            self.kube.replace(f"{folder}/{name}", body)


def _beside(predictor: Json, release: Release, storage_uri: str) -> list[Json]:
    """Return the JSON patch that puts the release beside the version in service: a predictor, or a challenger in it."""
    strategy = release.plan.get("rollout", {}).get("strategy")
    if strategy in {"ab", "shadow"}:
        return challenger_patch(predictor, role=strategy, variant=release.canary, storage_uri=storage_uri)
    entry = {"trafficPercent": 0, "predictor": _canary_predictor(predictor, release.canary, storage_uri)}
    return [{"op": "add", "path": pointer("spec", "canary"), "value": [entry]}]


def _canary_predictor(stable: Json, name: str, storage_uri: str) -> Json:
    """Return the stable predictor under another name, with its own variant and bundle, and no scaling of its own."""
    predictor = {field: copy.deepcopy(value) for field, value in stable.items() if field not in SCALING}
    predictor["name"] = name
    model = predictor["model"]
    kept = [argument for argument in model.get("args", []) if not argument.startswith("--variant")]
    model |= {"storageUri": storage_uri, "args": [f"--variant={name}", *kept]}
    return predictor


def _summary(state: RolloutState) -> str:
    return f"{state.phase} {state.weight}%" + (f": {state.reason}" if state.reason else "")
