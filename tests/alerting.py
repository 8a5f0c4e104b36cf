"""A real Prometheus, a real Alertmanager, and a place on this machine where alerts arrive."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from tests.programs import free_port, program

DEADLINE = 240.0  # seconds, on a busy machine; it takes about ten


@contextmanager
def running(command: list[str], log: Path, ready: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends; it is ready when `ready` answers."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: answers(ready), process, lambda: log.read_text()[-2000:])
        yield process
    finally:
        process.terminate()
        process.wait(timeout=30)


def answers(url: str) -> bool:
    """Tell whether an address answers 200."""
    try:
        with urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (URLError, OSError):
        return False


def wait_until(condition: Callable[[], bool], server: subprocess.Popen[bytes], found: Callable[[], object]) -> None:
    """Ask a server again and again until the condition holds; fail as soon as the server has ended."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, found()
        with suppress(subprocess.TimeoutExpired):
            server.wait(timeout=0.1)
            pytest.fail(f"the server has ended: {found()}")


class Hooks:
    """A local address for the chat's and the trigger's webhooks; keeps what was posted, by path, with the token.

    `heard` is notified of each post and of each mail.
    """

    def __init__(self, heard: threading.Condition) -> None:
        self.posts: list[tuple[str, str | None, dict[str, Any]]] = []
        self.heard = heard
        posts = self.posts

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                with heard:
                    posts.append((self.path, self.headers.get("authorization"), json.loads(body)))
                    heard.notify_all()
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Keep the test's output quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> Hooks:
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def hurried(groups: dict[str, Any]) -> dict[str, Any]:
    """Return rule groups that are evaluated every second, and whose alerts do not wait."""
    for group in groups["groups"]:
        group["interval"] = "1s"
        for rule in group["rules"]:
            rule.pop("for", None)
    return groups


def alertmanager(folder: Path, port: int) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """Run Alertmanager on the alertmanager.yaml of a folder."""
    command = [
        program("alertmanager", "prometheus-alertmanager"),
        "--config.file=alertmanager.yaml",
        "--storage.path=alerts",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    return running(_in(folder, command), folder / "alertmanager.log", f"http://127.0.0.1:{port}/-/ready")


def prometheus(folder: Path, port: int) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """Run Prometheus on the prometheus.yaml of a folder."""
    command = [
        program("prometheus"),
        "--config.file=prometheus.yaml",
        "--storage.tsdb.path=data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--rules.alert.resend-delay=1s",  # what is sent before the receiver is discovered is lost
    ]
    return running(_in(folder, command), folder / "prometheus.log", f"http://127.0.0.1:{port}/-/ready")


@contextmanager
def past_prometheus(folder: Path, lines: list[str]) -> Iterator[str]:
    """Give the address of a Prometheus that scrapes nothing and knows what OpenMetrics `lines` with times say."""
    (folder / "past.txt").write_text("\n".join([*lines, "# EOF"]) + "\n")
    blocks = [program("promtool"), "tsdb", "create-blocks-from", "openmetrics", "past.txt", "data"]
    subprocess.run(blocks, check=True, cwd=folder, capture_output=True)
    (folder / "prometheus.yaml").write_text("scrape_configs: []\n")
    port = free_port()
    with prometheus(folder, port):
        yield f"http://127.0.0.1:{port}"


def _in(folder: Path, command: list[str]) -> list[str]:
    return ["env", "--chdir", str(folder), *command]
