"""Two controllers and one lease: over a real HTTP API that keeps versions as an API server does."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from sextant_serving.rollout.cluster import ClusterRollouts
from sextant_serving.rollout.controller import Controller, ControllerMetrics
from sextant_serving.rollout.kube import Kube
from sextant_serving.rollout.lease import LEASE_SECONDS, Lease
from sextant_serving.rollout.state import RolloutState


class LeaseServer(ThreadingHTTPServer):
    """Leases by name; each change gives a new version, and a change of an older version is a conflict."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.leases: dict[str, dict[str, Any]] = {}
        self.lock = threading.Lock()
        self.version = 0
        self.away = False
        self.before_put: Callable[[], object] = lambda: None

    def store(self, body: dict[str, Any]) -> None:
        self.version += 1
        body["metadata"]["resourceVersion"] = str(self.version)
        self.leases[body["metadata"]["name"]] = body


class Handler(BaseHTTPRequestHandler):
    server: LeaseServer

    def do_GET(self) -> None:
        if self.server.away:
            return self._answer(503, {})
        found = self.server.leases.get(self.path.rpartition("/")[2])
        return self._answer(404 if found is None else 200, found or {})

    def do_POST(self) -> None:
        body = self._body()
        with self.server.lock:
            if body["metadata"]["name"] in self.server.leases:
                return self._answer(409, {})
            self.server.store(body)
        return self._answer(201, body)

    def do_PUT(self) -> None:
        body = self._body()
        self.server.before_put()
        with self.server.lock:
            known = self.server.leases[body["metadata"]["name"]]["metadata"]["resourceVersion"]
            if body["metadata"].get("resourceVersion") != known:
                return self._answer(409, {})
            self.server.store(body)
        return self._answer(200, body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return body

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LeaseServer]:
    """The server, and a KUBECONFIG that names it."""
    with LeaseServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": address}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        (tmp_path / "kubeconfig").write_text(json.dumps(config))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        yield server
        server.shutdown()
        thread.join()


class Clock:
    """Time that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def lease(identity: str, clock: Clock) -> Lease:
    return Lease(Kube(), "demo", "sextant-rollout", identity, clock)


def test_of_two_controllers_one_acts(api: LeaseServer) -> None:
    """The first to ask keeps it for as long as it goes on asking."""
    clock = Clock()
    first, second = lease("one", clock), lease("two", clock)
    for _ in range(5):
        assert (first.hold(), second.hold()) == (True, False)
        clock.now += LEASE_SECONDS / 2


def test_a_controller_that_went_away_is_succeeded_once_its_lease_has_run_out(api: LeaseServer) -> None:
    """By how long it was seen unchanged, so that clocks that differ between nodes do no harm."""
    clock = Clock()
    first, second = lease("one", clock), lease("two", clock)
    assert first.hold()
    assert not second.hold()
    clock.now += LEASE_SECONDS
    assert not second.hold(), "on the last second it is still the other's"
    clock.now += 0.1
    assert second.hold()
    assert not first.hold(), "the one that came back acts no more"


def test_a_lease_that_was_given_back_is_free_at_once(api: LeaseServer) -> None:
    """A controller that is updated leaves no gap."""
    clock = Clock()
    first, second = lease("one", clock), lease("two", clock)
    assert first.hold()
    first.release()
    assert second.hold()
    first.release()
    assert second.hold(), "giving back what is another's changes nothing"


def test_two_that_take_a_run_out_lease_at_once_are_told_apart(api: LeaseServer) -> None:
    """Both have read the same version; the API server takes one change of it."""
    clock = Clock()
    assert lease("gone", clock).hold()
    rivals = [lease("one", clock), lease("two", clock)]
    assert [rival.hold() for rival in rivals] == [False, False]
    clock.now += LEASE_SECONDS + 1
    together = threading.Barrier(2, timeout=30)
    api.before_put = together.wait
    held: dict[str, bool] = {}
    threads = [
        threading.Thread(target=lambda each=rival: held.update({each.identity: each.hold()})) for rival in rivals
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(held.values()) == [False, True]


def test_a_controller_outlives_an_api_server_that_is_away(api: LeaseServer) -> None:
    """It takes no step and does not end; once the server answers again it leads again."""

    class Steps:
        """Rollouts that count their steps."""

        taken = 0

        def tick(self, _name: str) -> RolloutState:
            self.taken += 1
            return RolloutState(digest="sha256:" + "0" * 64, began=0.0, deadline=1.0)

    steps = Steps()
    metrics = ControllerMetrics(CollectorRegistry(), "demo")
    controller = Controller(cast("ClusterRollouts", steps), lease("one", Clock()), metrics)
    controller.names = {"parcels"}
    assert controller.step()
    api.away = True
    assert not controller.step()
    assert not controller.step()
    assert steps.taken == 1
    api.away = False
    assert controller.step()
    assert steps.taken == 2
