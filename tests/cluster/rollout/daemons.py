"""Processes that tests kill and start again: their own, and those of the node that they run on."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from tests.programs import lacks


@dataclass
class Daemon:
    """A process that lives within a `with`; `log` takes what it says."""

    command: list[str]
    log: Path
    _running: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __enter__(self) -> Daemon:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        with self.log.open("ab") as words:
            self._running = subprocess.Popen(self.command, stdout=words, stderr=subprocess.STDOUT)

    def kill(self) -> None:
        """Kill it at once, and wait until it is gone."""
        if self._running is not None:
            self._running.kill()
            self._running.wait()


@dataclass(frozen=True)
class NodeProcess:
    """A process of the cluster's node, with all that it takes to start it once more."""

    pid: int
    command: list[str]
    environment: dict[str, str]
    folder: Path
    log: Path

    def kill(self) -> None:
        """Kill it at once, and wait until it is gone."""
        pause, end = threading.Event(), time.monotonic() + 30
        os.kill(self.pid, signal.SIGKILL)
        while is_running(self.pid):
            assert time.monotonic() < end, f"process {self.pid} does not end"
            pause.wait(0.05)

    def start(self) -> None:
        """Start it as it was; it outlives the tests, as the node does."""
        with self.log.open("ab") as words:
            subprocess.run(
                ["setsid", "--fork", *self.command],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=subprocess.STDOUT,
                check=True,
            )


def node_process(name: str) -> NodeProcess:
    """Return the node's process of this program.

    It is looked for in the tests' own network namespace, and only if somebody made that by name (`ip netns`), so that
    nothing but a cluster for tests is killed. Elsewhere the test is skipped, or fails where SEXTANT_REQUIRE_SERVERS
    says so.
    """
    own = Path("/proc/self/ns/net").readlink()
    named = {f"net:[{path.stat().st_ino}]" for path in Path("/run/netns").glob("*")}
    if str(own) in named:
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if (folder / "ns/net").readlink() == own and (folder / "exe").readlink().name == name:
                    return _seen(folder)
            except OSError:  # gone meanwhile, or a thread of the kernel
                continue
    return lacks(f"a cluster for tests whose {name} runs in this network namespace")


def _seen(folder: Path) -> NodeProcess:
    command = (folder / "cmdline").read_bytes().decode().split("\0")[:-1]
    texts = (folder / "environ").read_bytes().decode().split("\0")
    environment = {key: value for key, _, value in (text.partition("=") for text in texts) if key}
    places = ((folder / name).readlink() for name in ("cwd", "fd/1"))
    return NodeProcess(int(folder.name), command, environment, *places)


def is_running(pid: int) -> bool:
    """Tell whether a process is there and more than an entry that nobody has read yet."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
