"""What tests need of the machine: programs, and free ports for them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from typing import NoReturn

import pytest

TOOLS_SCRIPT = "run tests/manifests/tools.sh"
INSTALL = {
    "alertmanager": "apt-get install prometheus-alertmanager",
    "amtool": "apt-get install prometheus-alertmanager",
    "chromium": "apt-get install chromium",
    "fake-gcs-server": "go install github.com/fsouza/fake-gcs-server@latest",
    "helm": TOOLS_SCRIPT,
    "initdb": "apt-get install postgresql",
    "kubeconform": TOOLS_SCRIPT,
    "kustomize": TOOLS_SCRIPT,
    "npm": "apt-get install npm",
    "postgres": "apt-get install postgresql",
    "prometheus": "apt-get install prometheus",
    "promtool": "apt-get install prometheus",
    "redis-server": "apt-get install redis-server",
    "versitygw": "go install github.com/versity/versitygw/cmd/versitygw@latest",
}


def lacks(what: str) -> NoReturn:
    """Skip the test for want of `what`, or fail it where SEXTANT_REQUIRE_SERVERS=1, as in CI."""
    (pytest.fail if os.environ.get("SEXTANT_REQUIRE_SERVERS") == "1" else pytest.skip)(f"needs {what}")


def program(*names: str, path: str | None = None) -> str:
    """Return where the first of these programs is on PATH, or on `path`; without any the test `lacks` it."""
    found = next((where for name in names if (where := shutil.which(name, path=path)) is not None), None)
    return found or lacks(f"{names[0]}: {INSTALL[names[0]]}")


def free_port() -> int:
    """Return a port of the loopback address that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
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
