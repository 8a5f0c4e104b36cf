"""The servers of the benchmark: how each is started on its core, and which formats it takes."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.serving.models import FILE, BenchModel
from benchmarks.serving.wires import Dialect, Wire

from sextant_serving.allocator import VARIABLE as ALLOCATOR

HERE = Path(__file__).parent
SERVER_CORE, LOAD_CORE = 0, 1
START_SECONDS = 240.0


@dataclass(frozen=True)
class Contender:
    """A server by name; `wires` maps each format it takes to the path and dialect of its requests."""

    name: str
    title: str
    batching: bool
    wires: dict[Wire, tuple[str, Dialect]]
    ready_path: str = "/v2/health/ready"
    command: tuple[str, ...] = ("{python}", "{apps}/{name}_app.py")
    environment: dict[str, str] = field(default_factory=dict)


V2 = "/v2/models/bench/infer"
OURS = frozenset({"sextant", "socket"})  # what runs in this environment
CONTENDERS = {
    one.name: one
    for one in (
        Contender(
            "sextant", "Sextant", True,
            {"json": (V2, "v2"), "binary": (V2, "v2"), "jpeg": (V2, "v2"), "grpc": ("", "v2")},
            command=(sys.executable, "-m", "sextant_serving", "--bundle", "{bundle}", "--port", "{port}",
                     "--grpc-port", "{grpc_port}"),
        ),
        Contender(
            "socket", "the socket alone", False,
            {"json": (V2, "v2"), "binary": (V2, "v2"), "jpeg": (V2, "v2")},
            command=(sys.executable, "{apps}/socket_app.py"),
        ),
        Contender(
            "kserve", "KServe", False,
            {"json": (V2, "v2"), "binary": (V2, "v2"), "jpeg": (V2, "v2-base64"), "grpc": ("", "v2")},
        ),
        Contender(
            "mlserver", "MLServer", True,
            {"json": (V2, "v2"), "jpeg": (V2, "v2-base64"), "grpc": ("", "v2")},
        ),
        Contender(
            "bentoml", "BentoML", True, {"json": ("/predict", "bentoml")}, ready_path="/readyz",
            command=("{python}", "-m", "bentoml", "serve", "bentoml_app:Bench", "--host", "127.0.0.1",
                     "--port", "{port}", "--working-dir", "{apps}"),
            environment={"BENTOML_DO_NOT_TRACK": "True"},
        ),
        Contender(
            "litserve", "LitServe", True, {"json": ("/predict", "own"), "jpeg": ("/predict", "v2-base64")},
            ready_path="/health",
        ),
        Contender(
            "ray", "Ray Serve", True,
            {"json": ("/", "own"), "binary": ("/", "own"), "jpeg": ("/", "own")}, ready_path="/-/healthz",
            environment={"RAY_USAGE_STATS_ENABLED": "0"},
        ),
        Contender(
            "mosec", "mosec", True,
            {"json": ("/inference", "own"), "binary": ("/inference", "own"), "jpeg": ("/inference", "own")},
            ready_path="/metrics",
            command=("{python}", "{apps}/mosec_app.py", "--port", "{port}", "--address", "127.0.0.1"),
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Running:
    """A server that answers, and the id of its first process."""

    port: int
    grpc_port: int
    process: int


@contextlib.contextmanager
def running(
    contender: Contender, model: BenchModel, bundle: Path, environments: Path, log: Path, *, first: bool = False
) -> Iterator[Running]:
    """Serve `bundle` on the server's core for the duration of the block.

    `first` lets it start before all other work of the machine: some give up if their parts are not there in time.

    Raises RuntimeError if the server ends or is not ready in time; `log` has its words.
    """
    port, grpc_port = _free_port(), _free_port()
    words = {
        "python": str(environments / contender.name / "bin" / "python"),
        "apps": str(HERE / "apps"),
        "name": contender.name,
        "bundle": str(bundle),
        "port": str(port),
        "grpc_port": str(grpc_port),
    }
    environment = {
        **{name: value for name, value in os.environ.items() if name != ALLOCATOR},  # each as it starts by itself
        **contender.environment,
        "BENCH_MODEL": str(bundle / FILE),
        "BENCH_SHAPE": ",".join(map(str, model.shape)),
        "BENCH_PORT": str(port),
        "BENCH_GRPC_PORT": str(grpc_port),
        "PYTHONPATH": str(HERE / "apps") if contender.name != "sextant" else os.environ.get("PYTHONPATH", ""),
        "OMP_NUM_THREADS": "1",
    }
    command = ["chrt", "--rr", "1"] if first else []
    command += ["taskset", "-c", str(SERVER_CORE), *(part.format(**words) for part in contender.command)]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,
        )
        try:
            _wait_until_ready(process, port, contender.ready_path)
            _schedule(process.pid, os.SCHED_OTHER, 0)
            yield Running(port, grpc_port, process.pid)
        finally:
            _stop(process)


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, path: str) -> None:
    give_up = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up:
        if process.poll() is not None:
            raise RuntimeError(f"it ended with exit code {process.returncode}")
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            connection.request("GET", path)
            if connection.getresponse().status == http.HTTPStatus.OK:
                return
        time.sleep(0.1)
    raise RuntimeError(f"it was not ready after {START_SECONDS:g} s")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server and every process that it has started, in whatever session."""
    family = _family(process.pid, _processes())
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(15)
    for one in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def realtime(server: int) -> Iterator[None]:
    """Let a server and its descendants run before all other work of the machine for the duration of the block.

    Raises PermissionError without the right to do so. The kernel leaves a twentieth of each core to the others.
    """
    _schedule(server, os.SCHED_RR, 1)
    try:
        yield
    finally:
        _schedule(server, os.SCHED_OTHER, 0)


def _schedule(server: int, policy: int, priority: int) -> None:
    for process in _family(server, _processes()):
        for task in Path(f"/proc/{process}/task").glob("[0-9]*"):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setscheduler(int(task.name), policy, os.sched_param(priority))


def cpu_seconds(server: int) -> float:
    """Return the processor time that a server and its living descendants have used so far, in seconds."""
    fields = _processes()
    ticks = sum(int(fields[one][11]) + int(fields[one][12]) for one in _family(server, fields))
    return ticks / os.sysconf("SC_CLK_TCK")


def _family(server: int, fields: dict[int, list[str]]) -> set[int]:
    """Return the server's process and those that descend from it or belong to its session."""
    family = {server} & fields.keys()
    while more := {one for one, parts in fields.items() if int(parts[1]) in family or int(parts[3]) == server} - family:
        family |= more
    return family


def _processes() -> dict[int, list[str]]:
    """Return the fields of /proc/PID/stat after the command's name, by process id."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            found[int(path.parent.name)] = path.read_text().rpartition(") ")[2].split()
    return found


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
