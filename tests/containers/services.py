"""The servers that the steps of a cluster reach by name: MLflow as its manifest starts it, and Redis.

Pods of these tests share this machine's network; what a Service's name stands for is in the pod's /etc/hosts, and the
port is the test's own, since the one of the Service may be in use here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from tests.programs import free_port, program, wait_until_reached

ROOT = Path(__file__).parents[2]
MLFLOW_PORT = 5000  # of its Service
START_SECONDS = 300.0  # MLflow imports for ten on two free cores


@contextmanager
def mlflow_server(folder: Path) -> Iterator[int]:
    """Run MLflow with the arguments of its Deployment, on a database in `folder`; yield its port."""
    deployment = ROOT / "manifests" / "components" / "mlflow" / "deployment.yaml"
    (container,) = yaml.safe_load(deployment.read_text("utf-8"))["spec"]["template"]["spec"]["containers"]
    port = free_port()
    arguments = [text.replace(str(MLFLOW_PORT), str(port)) for text in container["args"]]
    env = {each["name"]: each["value"] for each in container["env"] if "value" in each}
    env |= {"MLFLOW_BACKEND_STORE_URI": f"sqlite:///{folder / 'mlflow.db'}"}
    mlflow = [sys.executable, "-W", "ignore", "-m", "mlflow"]
    subprocess.run([*mlflow, "db", "upgrade", env["MLFLOW_BACKEND_STORE_URI"]], check=True, capture_output=True)
    with (folder / "mlflow.log").open("wb") as log:
        process = subprocess.Popen(
            [*mlflow, "server", *arguments], cwd=folder, env={**os.environ, **env}, stdout=log, stderr=log
        )
        try:
            wait_until_reached(process, port, seconds=START_SECONDS)
            yield port
        finally:
            process.terminate()
            process.wait(60)


@contextmanager
def redis_server(folder: Path, password: str) -> Iterator[int]:
    """Run Redis behind a password, with nothing kept on disk; yield its port.

    Without the program the test is skipped, or fails in CI.
    """
    port = free_port()
    command = [program("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    command += ["--requirepass", password]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_until_reached(process, port)
        yield port
    finally:
        process.terminate()
        process.wait(30)
