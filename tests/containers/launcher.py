"""What KFP's driver and launcher do for one task, by their source (backend/src/v2/driver, backend/src/v2/component).

The driver names the outputs and writes the executor's input; the launcher copies input artifacts into the pod, puts
the input in the command's place for it, runs the command, reads the output file and copies output artifacts away.
Files alone travel: an object store knows neither empty folders nor links nor modes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from tests.containers.pod import Ended, Pod
from tests.evidence import undated_digest

Json = dict[str, Any]
EXECUTOR_INPUT = "{{$}}"


@dataclass(frozen=True)
class Artifact:
    """An output of a task: its type by KFP's schema, and its address below the pipeline's root."""

    name: str
    type: Json
    uri: str

    @property
    def local(self) -> str:
        """The path in the container, LocalPathForURI in launcher_v2.go."""
        scheme, _, rest = self.uri.partition("://")
        return f"/{scheme}/{rest}"

    @property
    def message(self) -> Json:
        """The RuntimeArtifact of an executor's input."""
        return {"artifacts": [{"name": self.name, "type": self.type, "uri": self.uri}]}


@dataclass(frozen=True)
class Task:
    """One task of a pipeline with everything that its executor's input is made of."""

    name: str
    component: Json
    container: Json
    parameters: Mapping[str, str]
    artifacts: Mapping[str, Artifact]
    root: str

    @property
    def outputs(self) -> dict[str, Artifact]:
        """The artifacts that the task gives, provisionOutputs in driver.go."""
        found = self.component.get("outputDefinitions", {}).get("artifacts", {})
        return {name: Artifact(name, spec["artifactType"], f"{self.root}/{name}") for name, spec in found.items()}

    @property
    def output_parameters(self) -> list[str]:
        """The names of the values that the task gives."""
        return list(self.component.get("outputDefinitions", {}).get("parameters", {}))

    @property
    def output_file(self) -> str:
        """Where the executor writes what it gives."""
        return f"{Artifact('', {}, self.root).local}/output_metadata.json"

    def executor_input(self) -> str:
        """Return the executor's input as the launcher writes it, strictly by KFP's own message."""
        message = {
            "inputs": {
                "parameterValues": {**self._defaults(), **self.parameters},
                "artifacts": {name: artifact.message for name, artifact in self.artifacts.items()},
            },
            "outputs": {
                "parameters": {name: {"outputFile": f"/tmp/kfp/outputs/{name}"} for name in self.output_parameters},
                "artifacts": {name: artifact.message for name, artifact in self.outputs.items()},
                "outputFile": self.output_file,
            },
        }
        parsed = json_format.ParseDict(message, pipeline_spec_pb2.ExecutorInput())
        return json_format.MessageToJson(parsed, indent=None)

    def command(self) -> list[str]:
        """Return the container's command and arguments, the executor's input in its place."""
        words = [*self.container["command"], *self.container["args"]]
        return [word.replace(EXECUTOR_INPUT, self.executor_input()) for word in words]

    def _defaults(self) -> Json:
        known = self.component.get("inputDefinitions", {}).get("parameters", {})
        return {name: spec["defaultValue"] for name, spec in known.items() if "defaultValue" in spec}


class Store:
    """The object store of artifacts: any that fsspec reaches, at the addresses that the pipeline's root begins."""

    def __init__(self, filesystem: Any, scheme: str = "s3") -> None:
        self._files, self._scheme = filesystem, scheme

    @classmethod
    def in_folder(cls, folder: Path) -> Store:
        """Return a store whose buckets are the folders below `folder`."""
        return cls(fsspec.filesystem("dir", path=str(folder), fs=fsspec.filesystem("file", auto_mkdir=True)))

    def download(self, uri: str, folder: Path) -> None:
        """Copy every object below an address into a folder."""
        for path in self._files.find(self._key(uri)):
            target = folder / PurePosixPath(path).relative_to(self._key(uri))
            target.parent.mkdir(parents=True, exist_ok=True)
            self._files.get_file(path, str(target))

    def upload(self, folder: Path, uri: str) -> dict[str, str]:
        """Copy a folder's files below an address; return their digests, dates left out, by relative path."""
        digests = {}
        for path in sorted(folder.rglob("*")):
            if not path.is_file():
                assert path.is_dir(), f"{path}: neither a file nor a folder; an object store cannot hold it"
                continue
            name = path.relative_to(folder).as_posix()
            self._files.pipe_file(f"{self._key(uri)}/{name}", path.read_bytes())
            digests[name] = undated_digest(path)
        return digests

    def _key(self, uri: str) -> str:
        return uri.removeprefix(f"{self._scheme}://")


@dataclass(frozen=True)
class Given:
    """What a task gave: how its container ended, its values, and its artifacts' files by digest."""

    ended: Ended
    parameters: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def fill(pod: Pod, task: Task, store: Store) -> None:
    """Prepare the pod: input artifacts in their places, folders for the outputs (not the outputs themselves)."""
    pod.prepare()
    for artifact in task.artifacts.values():
        store.download(artifact.uri, pod.local(artifact.local))
    for artifact in task.outputs.values():
        pod.local(artifact.local).parent.mkdir(parents=True, exist_ok=True)
    pod.local("/tmp/kfp/outputs").mkdir(parents=True)
    pod.own()


def collect(pod: Pod, task: Task, store: Store, ended: Ended) -> Given:
    """Read what the executor wrote and copy its artifacts away; nothing of a container that failed."""
    if ended.code != 0:
        return Given(ended)
    output = pod.local(task.output_file)
    message = pipeline_spec_pb2.ExecutorOutput()
    if output.exists():
        json_format.Parse(output.read_text(encoding="utf-8"), message)
    found = json.loads(json_format.MessageToJson(message)).get("parameterValues", {})
    values = {name: found.get(name) or _value(pod, name) for name in task.output_parameters}
    files = {name: store.upload(pod.local(each.local), each.uri) for name, each in task.outputs.items()}
    return Given(ended, values, files)


def _value(pod: Pod, name: str) -> str:
    return pod.local(f"/tmp/kfp/outputs/{name}").read_text(encoding="utf-8")
