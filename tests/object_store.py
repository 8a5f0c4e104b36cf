"""A real object store on this machine: versitygw over a folder, for the time of a `with`."""

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
    binary = os.environ.get("SEXTANT_VERSITYGW") or shutil.which("versitygw")
    if binary is None:
        if os.environ.get("SEXTANT_REQUIRE_SERVERS") == "1":
            pytest.fail("versitygw is not installed: go install github.com/versity/versitygw/cmd/versitygw@latest")
        pytest.skip("needs versitygw (go install github.com/versity/versitygw/cmd/versitygw@latest)")
    for bucket in buckets:
        (folder / bucket).mkdir(parents=True)
    port = free_port()
    process = subprocess.Popen(
        [binary, "--port", f"127.0.0.1:{port}", "posix", "--nometa", str(folder)],
        env={**os.environ, "ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until_reached(process, port)
        yield ObjectStore(f"http://127.0.0.1:{port}", folder)
    finally:
        process.terminate()
        process.wait(30)


def free_port() -> int:
    """Return a port of the loopback that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


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
