"""Real object stores on this machine, for the time of a `with`: versitygw for S3, fake-gcs-server for Google's API."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.programs import free_port, program, wait_until_reached

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
    binary = _binary("versitygw")
    for bucket in buckets:
        (folder / bucket).mkdir(parents=True)
    port = free_port()
    keys = {"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY}
    with _running([binary, "--port", f"127.0.0.1:{port}", "posix", "--nometa", str(folder)], port, keys):
        yield ObjectStore(f"http://127.0.0.1:{port}", folder)


@contextmanager
def google_store(folder: Path, *buckets: str) -> Iterator[str]:
    """Run a server of Google's storage API with these buckets and yield its URL; skips or fails as `object_store`."""
    binary = _binary("fake-gcs-server")
    for bucket in buckets:
        (folder / bucket).mkdir(parents=True)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    options = {"host": "127.0.0.1", "port": port, "scheme": "http", "backend": "memory", "data": folder}
    options |= {"public-host": f"127.0.0.1:{port}", "external-url": url}
    with _running([binary, *(f"-{name}={value}" for name, value in options.items())], port, {}):
        yield url


def _binary(name: str) -> str:
    named = os.environ.get(f"SEXTANT_{name.upper().replace('-', '_')}")
    return named or program(name)


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
