"""One cell of the benchmark: a server, a model, a format and a number of connections."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.serving.models import FILE, MAX_ROWS, BenchModel, picture_batch
from benchmarks.serving.servers import LOAD_CORE, SERVER_CORE, Contender, Running, cpu_seconds, realtime
from benchmarks.serving.wires import Wire, grpc_request, http_request

RAW = "raw"  # the model alone, in a loop, in place of a server


@dataclass(frozen=True)
class Cell:
    """What was measured; rates are requests a second, times milliseconds, `cpu_ms` of the server for a request."""

    server: str
    model: str
    wire: str
    connections: int
    rate: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    requests: int
    errors: int
    turn: int = 0  # the round


@dataclass(frozen=True)
class Load:
    """How a cell is loaded; `first` lets server and load run before all other work of the machine."""

    connections: int
    seconds: float
    first: bool = False


def measure(contender: Contender, server: Running, model: BenchModel, wire: Wire, load: Load) -> Cell:
    """Load a running server, after a warm-up of a quarter of the time.

    Raises CalledProcessError if the load ends early, RuntimeError without any answer, and
    PermissionError without the right to run first.
    """
    if wire == "grpc":
        port, request = server.grpc_port, grpc_request(model, "bench")
    else:
        path, dialect = contender.wires[wire]
        port, request = server.port, http_request(model, wire, dialect, path)
    encoded = base64.b64encode(request).decode()
    asked = {"port": port, "wire": wire, "connections": load.connections, "request": encoded}
    with realtime(server.process) if load.first else contextlib.nullcontext():
        _send({**asked, "seconds": load.seconds / 4}, first=load.first)
        before = cpu_seconds(server.process)
        answer = _send({**asked, "seconds": load.seconds}, first=load.first)
        used = cpu_seconds(server.process) - before
    if not answer.times:
        raise RuntimeError(f"no answer in {wire}")
    times = np.array(answer.times) * 1000
    return Cell(
        contender.name,
        model.name,
        wire,
        load.connections,
        rate=(len(times) - answer.errors) / answer.seconds,
        p50_ms=float(np.quantile(times, 0.5)),
        p99_ms=float(np.quantile(times, 0.99)),
        cpu_ms=used / len(times) * 1000,
        requests=len(times),
        errors=answer.errors,
    )


def _send(asked: dict[str, Any], *, first: bool) -> Loaded:
    command = ["chrt", "--rr", "1"] if first else []
    command += ["taskset", "-c", str(LOAD_CORE), sys.executable, "-m", "benchmarks.serving.load"]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, check=True)
    return Loaded(**json.loads(done.stdout))


@dataclass(frozen=True)
class Loaded:
    """What the load saw: its seconds, those of each answer, and how many answers were errors."""

    seconds: float
    times: list[float]
    errors: int


def measure_raw(model: BenchModel, bundle: Path, load: Load) -> Cell:
    """Run the network alone on the server's core, in batches of as many rows as there are connections.

    Raises PermissionError without the right to run first.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(bundle / FILE, options, providers=["CPUExecutionProvider"])
    rows = min(load.connections, MAX_ROWS)
    feed = {"image": picture_batch(model, rows)}
    affinity = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {SERVER_CORE})
    if load.first:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    try:
        for _ in range(3):
            session.run(None, feed)
        times = []
        begun, cpu = time.perf_counter(), time.process_time()
        while (now := time.perf_counter()) - begun < load.seconds:
            session.run(None, feed)
            times.append(time.perf_counter() - now)
        taken, used = time.perf_counter() - begun, time.process_time() - cpu
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        os.sched_setaffinity(0, affinity)
    count = len(times) * rows
    p50, p99 = (float(np.quantile(times, q)) * 1000 for q in (0.5, 0.99))
    return Cell(RAW, model.name, RAW, load.connections, count / taken, p50, p99, used / count * 1000, count, 0)
