"""A step's pod as one container under runc: the image's root, read-only, as its own user, without capabilities.

What Kubeflow Pipelines mounts into an executor's pod is here too: writable scratch folders for each kind of object
store. Volumes and environment are what the pipeline's Kubernetes settings name.
"""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

USER = 65532
SCRATCH = ("gcs", "s3", "minio", ".local", ".cache", ".config")  # of the compiler's pod template, KFP 2.17
ALLOWED = ("/etc/ssl/certs", "/etc/resolv.conf")
SHARED_MEMORY_BYTES = 64 * 2**20  # Kubernetes' own, for a pod that asks for none
Json = dict[str, Any]


@dataclass(frozen=True)
class Image:
    """An unpacked image: its root, the packages that stand in it, and what its configuration says."""

    root: Path
    packages: Path
    env: Mapping[str, str]
    user: int


@dataclass(frozen=True)
class Ended:
    """How a container ended, and what it printed."""

    code: int
    output: str


@dataclass(frozen=True)
class Pod:
    """One executor's pod. `folder` keeps its scratch; `volumes` are folders of this machine by mount path.

    Without `network` it has a loopback of its own and no way out; with it, `names` are this machine's for it too.
    """

    image: Image
    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)
    volumes: Mapping[str, Path] = field(default_factory=dict)
    network: bool = False
    names: Sequence[str] = ()

    def local(self, path: str) -> Path:
        """Return where a path of the container's scratch lies on this machine."""
        top, _, rest = path.lstrip("/").partition("/")
        assert top in {*SCRATCH, "tmp"}, path
        return self.folder / top / rest

    def prepare(self) -> None:
        """Make the scratch folders, which belong to the container's user."""
        for name in (*SCRATCH, "tmp"):
            folder = self.folder / name
            folder.mkdir(parents=True)
            os.chown(folder, USER, USER)

    def own(self) -> None:
        """Hand everything in the scratch to the container's user, as the launcher's own files would be."""
        for path in self.folder.rglob("*"):
            os.chown(path, USER, USER, follow_symlinks=False)

    @contextmanager
    def started(self, command: list[str]) -> Iterator[subprocess.Popen[str]]:
        """Start the command in the container; when the context ends, so does the container, by SIGKILL."""
        bundle = self.folder / "bundle"
        bundle.mkdir()
        hosts = " ".join(("localhost", *self.names))
        (self.folder / "hosts").write_text(f"127.0.0.1 {hosts}\n", encoding="utf-8")
        (bundle / "config.json").write_text(json.dumps(self._configuration(command)), encoding="utf-8")
        name = f"sextant-test-{uuid.uuid4().hex[:12]}"
        with subprocess.Popen(
            ["runc", "run", "--bundle", str(bundle), name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                subprocess.run(["runc", "delete", "--force", name], capture_output=True, check=False)

    def run(self, command: list[str]) -> Ended:
        """Run the command to its end."""
        with self.started(command) as process:
            output, _ = process.communicate()
            return Ended(process.returncode, output)

    def _configuration(self, command: list[str]) -> Json:
        namespaces = ["pid", "ipc", "uts", "mount", *([] if self.network else ["network"])]
        return {
            "ociVersion": "1.0.2",
            "hostname": "executor",
            "root": {"path": str(self.image.root), "readonly": True},
            "process": {
                "user": {"uid": self.image.user, "gid": self.image.user},
                "cwd": "/",
                "args": command,
                "env": [f"{name}={value}" for name, value in {**self.image.env, **self.env}.items()],
                "noNewPrivileges": True,
                "capabilities": {},
            },
            "mounts": list(self._mounts()),
            "linux": {"namespaces": [{"type": name} for name in namespaces]},
        }

    def _mounts(self) -> Iterator[Json]:
        yield {"destination": "/proc", "type": "proc", "source": "proc"}
        yield _tmpfs("/dev", "nosuid", "strictatime", "mode=755", "size=65536k")
        yield {"destination": "/sys", "type": "bind", "source": "/sys", "options": ["rbind", "ro"]}
        yield _tmpfs("/dev/shm", "nosuid", "nodev", f"size={SHARED_MEMORY_BYTES}")
        yield _bind("/opt/sextant/lib/python3.11/site-packages", self.image.packages, "ro")
        for name in (*SCRATCH, "tmp"):
            yield _bind(f"/{name}", self.folder / name, "rw")
        yield _bind("/etc/hosts", self.folder / "hosts", "ro")
        for mount, folder in self.volumes.items():
            yield _bind(mount, folder, "rw")


def _bind(destination: str, source: Path, mode: str) -> Json:
    return {"destination": destination, "type": "bind", "source": str(source), "options": ["rbind", mode]}


def _tmpfs(destination: str, *options: str) -> Json:
    return {"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": list(options)}
