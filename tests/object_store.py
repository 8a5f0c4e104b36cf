"""Real object stores on this machine, for the time of a `with`: versitygw for S3, fake-gcs-server for Google's API."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ACCESS_KEY = "sextant-test"
SECRET_KEY = "not-a-secret-of-anyone"


@dataclass(frozen=True)
class ObjectStore:
    """A running store; every folder below `folder` is a bucket."""

    endpoint: str
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a client's environment needs, credentials included."""
        keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
        return {"AWS_ENDPOINT_URL": self.endpoint, "AWS_DEFAULT_REGION": "us-east-1", **keys}

    def files(self) -> Iterator[Path]:
        """Yield every object."""
        yield from (path for path in self.folder.rglob("*") if path.is_file())


@contextmanager
def object_store(folder: Path, *buckets: str) -> Iterator[ObjectStore]:
    """Run an object store with these buckets; a machine without versitygw skips the test, or fails it in CI."""
    binary = _binary("versitygw", "github.com/versity/versitygw/cmd/versitygw")
    for bucket in buckets:
        (folder / bucket).mkdir(parents=True)
    port = free_port()
    keys = {"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY}
    with _running([binary, "--port", f"127.0.0.1:{port}", "posix", "--nometa", str(folder)], port, keys):
        yield ObjectStore(f"http://127.0.0.1:{port}", folder)


@contextmanager
def google_store(folder: Path, *buckets: str) -> Iterator[str]:
    """Run a server of Google's storage API with these buckets and yield its URL; skips or fails as `object_store`."""
    binary = _binary("fake-gcs-server", "github.com/fsouza/fake-gcs-server")
    for bucket in buckets:
        (folder / bucket).mkdir(parents=True)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    options = {"host": "127.0.0.1", "port": port, "scheme": "http", "backend": "memory", "data": folder}
    options |= {"public-host": f"127.0.0.1:{port}", "external-url": url}
    with _running([binary, *(f"-{name}={value}" for name, value in options.items())], port, {}):
        yield url


def _binary(name: str, module: str) -> str:
    found = os.environ.get(f"SEXTANT_{name.upper().replace('-', '_')}") or shutil.which(name)
    if found is None:
        if os.environ.get("SEXTANT_REQUIRE_SERVERS") == "1":
            pytest.fail(f"{name} is not installed: go install {module}@latest")
        pytest.skip(f"needs {name} (go install {module}@latest)")
    return found


def free_port() -> int:
    """Return a port of the loopback that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextmanager
def _running(command: list[str], port: int, environment: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until_reached(process, port)
        yield
    finally:
        process.terminate()
        process.wait(30)


def wait_until_reached(process: subprocess.Popen[bytes], port: int, *, seconds: float = 60) -> None:
    """Wait until a server's port takes connections; the server's end, or the time's, is an error."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            assert time.monotonic() < deadline, f"nothing listens on port {port}"
            assert process.poll() is None, f"the server for port {port} ended"
            threading.Event().wait(0.05)
        else:
            return
