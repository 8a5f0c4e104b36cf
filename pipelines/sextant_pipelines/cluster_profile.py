"""The cluster's side of a run: what its pods need, in a file beside the plan and outside of the plan's hash.

How large a pod is and where it runs says nothing about what a model has to prove, so no amendment is due when it
changes. Every model here is closed, as in the plan.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError, model_validator

from sextant_components.runs.context import Step
from sextant_plan.errors import Finding, UsageError
from sextant_plan.loading import dotted
from sextant_plan.schema import Closed
from sextant_plan.types import Duration
from sextant_plan.yaml_source import read_yaml

BY_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
_SECRET_NAME = re.compile(r"secret|passw|token|credential|(access|api|private)_?key", re.IGNORECASE)

# Steps that may run twice: each attempt has a ledger file of its own, outputs are named by content, and what they
# write elsewhere (looks, features, MLflow children) is keyed so that a second time changes nothing. Not among them:
# `register` and `roll_out`, which change what is live and are made again by hand, and `conclude`, whose failure is
# the run's verdict.
REPEATABLE = frozenset(
    {"plan", "ingest", "verify", "prepare", "train", "optimise", "evaluate", "decide", "monitor", "close"}
)
STEP_NAMES = (*(step.value for step in Step), "monitor", "conclude", "close")

Quantity = Annotated[str, StringConstraints(pattern=r"^\d+(\.\d+)?(m|Ki|Mi|Gi|Ti)?$")]
ObjectName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")]
EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
MountPath = Annotated[str, StringConstraints(pattern=r"^/[^\s]*$")]


class Toleration(Closed):
    """A taint that the step's pod bears, as in Kubernetes' pod spec."""

    key: str
    operator: Literal["Exists", "Equal"] = "Exists"
    value: str = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""


class StepSettings(Closed):
    """What one step's pod asks for; what is not set is left to the cluster's defaults.

    `cpu` and `memory` are both request and limit. `shared_memory` is the size of /dev/shm, which torch's loaders
    need. `gpu` asks for so many of `gpu_resource`, as the node's device plugin names it. `timeout` ends the pod;
    `retries` starts another one, for steps that may run twice.
    """

    cpu: Quantity | None = None
    memory: Quantity | None = None
    gpu: int = Field(default=0, ge=0)
    gpu_resource: str = "nvidia.com/gpu"
    shared_memory: Quantity | None = None
    node_selector: dict[str, str] = {}
    tolerations: list[Toleration] = []
    timeout: Duration | None = None
    retries: int = Field(default=0, ge=0, le=10)


class SecretSource(Closed):
    """A Secret by name: variables of the environment by the keys in it, or the whole of it as files below `mount`."""

    name: ObjectName
    env: dict[EnvName, str] = {}
    mount: MountPath | None = None

    @model_validator(mode="after")
    def _is_used(self) -> SecretSource:
        if not self.env and self.mount is None:
            raise ValueError("a secret goes to env or to mount; name at least one")
        return self


class ConfigMapSource(Closed):
    """A ConfigMap by name, as files below `mount`; what SEXTANT_FEAST_STORES names may be one of them."""

    name: ObjectName
    mount: MountPath


class Volume(Closed):
    """A PersistentVolumeClaim that every step mounts."""

    claim: ObjectName
    mount: MountPath


class ClusterProfile(Closed):
    """The whole file. `home` and `data` are folders inside the pods: the state, and what resolves the plan's paths.

    `images.train` is by digest, or with `any_image` by a tag, which may come to mean another image while a run goes on:
    for images that were loaded into a node and have none. `image_pull_secrets` are those of a registry that asks who
    pulls. `store` is where runs lie: a folder that the pods and the submitting machine both mount, or `s3://bucket/prefix`.
    `pipeline_root` is where KFP keeps the artifacts between the steps; without it, its own default. `keep` is how
    long finished workflows stay in the cluster, `deadline` the most a whole run may take.
    """

    images: dict[Literal["train"], str] = {}
    store: str
    home: MountPath
    data: MountPath
    pipeline_root: str | None = None
    service_account: ObjectName | None = None
    env: dict[EnvName, str] = {}
    secrets: list[SecretSource] = []
    config_maps: list[ConfigMapSource] = []
    volumes: list[Volume] = []
    image_pull_secrets: list[ObjectName] = []
    defaults: StepSettings = StepSettings()
    steps: dict[str, StepSettings] = {}
    keep: Duration | None = None
    deadline: Duration | None = None
    any_image: bool = False

    @model_validator(mode="after")
    def _steps_exist_and_may_be_repeated(self) -> ClusterProfile:
        for name, settings in self.steps.items():
            if name not in STEP_NAMES:
                raise ValueError(f"there is no step {name}; the steps are {', '.join(STEP_NAMES)}")
            if settings.retries and name not in REPEATABLE:
                raise ValueError(f"{name} is not retried: a second time could act on what the first left live")
        return self

    @model_validator(mode="after")
    def _no_credentials_in_the_open(self) -> ClusterProfile:
        found = [name for name in self.env if _SECRET_NAME.search(name)]
        if found:
            raise ValueError(f"env {found[0]} would stand in the pipeline for everyone to read; name it under secrets")
        if "@" in self.store.partition("://")[2].partition("/")[0]:
            raise ValueError("store holds a credential before its @; name it under secrets")
        return self

    @model_validator(mode="after")
    def _images_are_pinned(self) -> ClusterProfile:
        loose = [name for name, image in self.images.items() if not BY_DIGEST.search(image)]
        if not self.any_image and (loose or "train" not in self.images):
            raise ValueError("images.train names an image by digest (NAME@sha256:…); any_image: true allows a tag")
        return self

    def settings(self, step: str) -> StepSettings:
        """Return a step's settings over the defaults; retries of the defaults hold for steps that may run twice."""
        base = self.defaults.model_dump(exclude_unset=True)
        if step not in REPEATABLE:
            base.pop("retries", None)
        own = self.steps.get(step, StepSettings()).model_dump(exclude_unset=True)
        return StepSettings.model_validate(base | own)


class ProfileError(UsageError):
    """A cluster profile that cannot be used; carries every finding."""

    def __init__(self, path: Path, findings: list[Finding]) -> None:
        super().__init__("\n".join(finding.render(path) for finding in sorted(findings)))


def load_profile(path: Path) -> ClusterProfile:
    """Read and check a cluster profile. Raises ProfileError, and PlanError if the file is no YAML."""
    source = read_yaml(path)
    try:
        return ClusterProfile.model_validate(source.value if source.value is not None else {})
    except ValidationError as error:
        findings = []
        for detail in error.errors(include_input=False):
            place = tuple(part for part in detail["loc"] if part != "[key]")
            message = detail["msg"].removeprefix("Value error, ")
            remedy = "See docs/reference/cluster-profile.md"
            where = dotted(place) if place else "profile"
            findings.append(Finding(*source.position(place), where, message, remedy))
        raise ProfileError(path, findings) from error
