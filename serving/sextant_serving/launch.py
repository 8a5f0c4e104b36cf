"""Start a real server beside the caller, wait until it is ready, and always stop it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sextant_plan.errors import InfrastructureError
from sextant_serving.client import Client

STOP_SECONDS = 40.0  # beyond the server's own drain


class ServerDidNotStart(InfrastructureError):
    """The server ended before it was ready; `returned`, its exit code, and its last words say why."""

    def __init__(self, exit_code: int, words: str) -> None:
        self.returned = exit_code
        super().__init__(f"the server ended with exit code {exit_code} before it was ready: {words}")


@dataclass(frozen=True)
class Server:
    """A running server; `model` is the served model's name, `grpc` the gRPC port's `host:port` if it has one."""

    url: str
    model: str
    process: subprocess.Popen[str]
    grpc: str | None = None
    token: str | None = None
    certificates: Path | None = None

    def client(self) -> Client:
        """Open a connection to it."""
        return Client(self.url, self.model, token=self.token, certificates=self.certificates)


@contextlib.contextmanager
def running_server(
    *,
    bundle: Path | None = None,
    home: Path | None = None,
    feature_repo: Path | None = None,
    port: int = 0,
    grpc: bool = False,
    token: str | None = None,
    certificates: Path | None = None,
    log: Path | None = None,
    arguments: Sequence[str] = (),
    program: Sequence[str] = ("sextant_serving",),
) -> Iterator[Server]:
    """Serve `bundle` or `home` in a process of its own for the duration of the block.

    `grpc` opens a gRPC port too, any free one. `token` and `certificates` are for clients, where `arguments` ask for
    them. `log` receives what the server writes; `arguments` are further options of `python -m sextant_serving`, and
    `program` another module that takes them after arguments of its own.
    On leaving, the server gets SIGTERM and may drain. Raises ServerDidNotStart.
    """
    command = [sys.executable, "-m", *program, "--port", str(port), "--grpc-port", "0" if grpc else "off"]
    command += arguments
    for option, path in (("--bundle", bundle), ("--home", home), ("--feature-repo", feature_repo)):
        if path is not None:
            command += [option, str(path)]
    with contextlib.ExitStack() as stack:
        words: IO[bytes] = stack.enter_context(_open_log(log))
        process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=words, text=True))
        stack.callback(_stop, process)
        assert process.stdout is not None
        url = process.stdout.readline().strip()  # printed when ready; empty when the server has ended
        if not url:
            code = process.wait()
            words.seek(0)
            raise ServerDidNotStart(code, words.read().decode(errors="replace")[-2000:].strip())
        grpc_address = process.stdout.readline().strip().partition("://")[2] if grpc else None
        with Client(url, token=token, certificates=certificates) as client:
            model = client.model
        yield Server(url, model, process, grpc_address, token, certificates)


def _open_log(log: Path | None) -> IO[bytes]:
    return tempfile.TemporaryFile() if log is None else log.open("w+b")


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
