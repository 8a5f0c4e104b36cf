"""What a cluster holds for a plan: volumes, Secrets, an object store, and pods as the pipeline asks for them."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.containers.backend import Backend
from tests.containers.launcher import Given, Store, Task, collect, fill
from tests.containers.pod import USER, Image, Pod

from sextant_components.runs.context import PipelineName
from sextant_pipelines.cluster_profile import ClusterProfile
from sextant_pipelines.compile import split_documents
from sextant_pipelines.run_store import is_remote, lay_out
from sextant_pipelines.submission import Submission, prepare

STATE = "/var/lib/sextant"
DATA = "/data"
ARTIFACTS = "s3://artifacts/runs"
IMAGE = "registry.example/sextant-train@sha256:" + "a" * 64
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
Around = Callable[[Task, Callable[[], Given]], Given]
Json = dict[str, Any]


def profile(*, store: str = f"{STATE}/runs", env: Mapping[str, str] | None = None, **more: Any) -> ClusterProfile:
    """Return a cluster's profile with one volume for state and one for data; each step works with one thread."""
    volumes = [{"claim": "state", "mount": STATE}, {"claim": "data", "mount": DATA}]
    return ClusterProfile.model_validate(
        {
            "images": {"train": IMAGE},
            "store": store,
            "home": f"{STATE}/home",
            "data": DATA,
            "pipeline_root": ARTIFACTS,
            "volumes": volumes,
            "env": {**ONE_THREAD, **(env or {})},
            **more,
        }
    )


@dataclass
class Workshop:
    """The cluster's side of a plan, below one folder. `data` is the folder in which the plan file would lie.

    With `names`, which are those of Services, the pods reach the network of this machine; without, none.
    """

    folder: Path
    image: Image
    plan: Path
    data: Path
    store: Store
    profile: ClusterProfile = field(default_factory=profile)
    secrets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    config_maps: Mapping[str, Path] = field(default_factory=dict)
    names: Sequence[str] = ()
    printed: dict[str, str] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _platform: Json = field(default_factory=dict)

    @property
    def state(self) -> Path:
        """The volume of the claim `state`."""
        return self.folder / "state"

    def run_folder(self, run_id: str) -> Path:
        """Return where a run on the volume lies on this machine."""
        return self.state / "runs" / run_id

    def begin(self, run_id: str, pipeline: PipelineName = "lifecycle", *, window: str = "") -> Submission:
        """Lay a run out as `sextant submit` does, and hand the volume to the pods' user."""
        submission = prepare(self.plan, self.profile, name=pipeline, run_id=run_id, window=window)
        uri = submission.run_uri
        place = uri if is_remote(uri) else str(self.run_folder(run_id))
        self.state.mkdir(parents=True, exist_ok=True)
        lay_out(place, plan=submission.plan, file=submission.file)
        for path in (self.state, *self.state.rglob("*")):
            os.chown(path, USER, USER, follow_symlinks=False)
        return submission

    def carry_out(self, submission: Submission, around: Around | None = None) -> tuple[bool, Backend]:
        """Run a submission's pipeline; return whether it succeeded. `around` may run a task's pod its own way."""
        ir, platform = split_documents(submission.package.text)
        self._platform = platform or {}
        root = f"{submission.settings.pipeline_root}/{submission.run_id}"
        backend = Backend(ir, root, lambda task: (around or _undisturbed)(task, lambda: self._execute(task)))
        return backend.run(submission.settings.arguments), backend

    def _execute(self, task: Task) -> Given:
        pod = self.pod(task)
        fill(pod, task, self.store)
        ended = pod.run(task.command())
        self._keep(task, ended.output)
        return collect(pod, task, self.store, ended)

    def kill(self, task: Task, *, after: float) -> bool:
        """Start a task's pod and kill it after so many seconds; return whether it had not ended by then."""
        pod = self.pod(task)
        fill(pod, task, self.store)
        with pod.started(task.command()) as process:
            try:
                output, _ = process.communicate(timeout=after)
            except subprocess.TimeoutExpired:
                return True
        self._keep(task, output)
        return False

    def _keep(self, task: Task, output: str) -> None:
        self.printed[task.name] = self.printed.get(task.name, "") + output

    def pod(self, task: Task) -> Pod:
        """Return a fresh pod of a task, with what the pipeline's Kubernetes settings give it."""
        executors = self._platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        settings = executors["exec-" + task.name.replace("_", "-")]
        env = {each["name"]: each["value"] for each in task.container.get("env", [])}
        for secret in settings.get("secretAsEnv", []):
            values = self.secrets[secret["secretName"]]
            env |= {each["envVar"]: values[each["secretKey"]] for each in secret["keyToEnv"]}
        claims = {"state": self.state, "data": self.data}
        volumes = {each["mountPath"]: claims[each["constant"]] for each in settings.get("pvcMount", [])}
        for each in settings.get("configMapAsVolume", []):
            volumes[each["mountPath"]] = self.config_maps[each["configMapName"]]
        folder = self.folder / "pods" / f"{next(self._numbers)}-{task.name}"
        return Pod(self.image, folder, env, volumes, bool(self.names), self.names)

    def everything_printed(self) -> str:
        """Return what all pods printed, as JSON text for a failure's message."""
        return json.dumps(self.printed, indent=1)


def _undisturbed(_: Task, once: Callable[[], Given]) -> Given:
    return once()
