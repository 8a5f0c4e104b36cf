"""Real databases on this machine, each of one test: Redis and PostgreSQL."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.programs import free_port, program, wait_until_reached


def _postgres_program(name: str) -> str:
    # Debian keeps them away from PATH.
    folders = [os.environ["PATH"], *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin")))]
    return program(name, path=os.pathsep.join(folders))


@pytest.fixture
def redis() -> Iterator[dict[str, Any]]:
    """The settings of a Redis of the test's own."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [program("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            wait_until_reached(process, port)
            yield {"type": "redis", "connection_string": f"127.0.0.1:{port}"}
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture
def postgres() -> Iterator[dict[str, Any]]:
    """The settings of a PostgreSQL of the test's own, run by the user postgres where the test is root."""
    initdb, server, port = _postgres_program("initdb"), _postgres_program("postgres"), free_port()
    user = "postgres" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="sextant-pg-"))  # pytest's folders are closed to other users
    try:
        if user:
            shutil.chown(folder, user)
        data = folder / "data"
        subprocess.run(
            [initdb, "--auth=trust", "--username=postgres", "--no-sync", str(data)],
            user=user,
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        command = [server, "-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", str(folder), "-F"]
        process = subprocess.Popen(command, user=user, cwd=folder, stderr=subprocess.DEVNULL)
        try:
            wait_until_reached(process, port)
            yield {
                "type": "postgres",
                "host": "127.0.0.1",
                "port": port,
                "database": "postgres",
                "db_schema": "public",
                "user": "postgres",
                "password": "none",
                "sslmode": "disable",
            }
        finally:
            process.send_signal(signal.SIGINT)  # at once, where SIGTERM waits for every client to go
            process.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
