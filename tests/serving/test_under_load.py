"""What holds while clients keep the server busy: liveness is prompt, and a stop loses no request."""

from __future__ import annotations

import http.client
import io
import re
import signal
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import pytest
from PIL import Image

from sextant_serving.client import Tensor
from sextant_serving.launch import Server, running_server
from sextant_serving.server import THREADS

MakeBundle = Callable[..., Path]

MANY = orjson.dumps({"instances": [{"image": np.zeros((8, 8, 1), int).tolist()}] * 8})
ROW: dict[str, Tensor] = {"image": np.zeros((1, 8, 8, 1), np.uint8), "features": np.zeros((1, 2), np.float32)}


def test_liveness_is_prompt_while_the_device_is_busy(make_bundle: MakeBundle) -> None:
    """A probe does not wait for the batch on the device: its median stays under 50 ms."""
    bundle = make_bundle(slow=500, serving={"deadline": 60.0})
    with running_server(bundle=bundle) as server, server.client() as probe:
        stop = threading.Event()

        def keep_busy() -> None:
            with server.client() as client:
                while not stop.is_set():
                    client.infer_binary(ROW)

        busy = threading.Thread(target=keep_busy)
        begun = time.monotonic()
        busy.start()
        seconds: list[float] = []
        while len(seconds) < 40:
            sent = time.monotonic()
            assert probe.request("GET", "/v2/health/live")[0] == 200
            seconds.append(time.monotonic() - sent)
        stop.set()
        busy.join()
        assert time.monotonic() - begun > 5 * statistics.median(seconds)  # the device had more to do than the probes
    assert statistics.median(seconds) < 0.05


@pytest.mark.slow
def test_what_is_accepted_is_answered_in_time_at_far_more_than_the_capacity(make_bundle: MakeBundle) -> None:
    """Clients that ask again at once are refused with Retry-After, and 99 of 100 answers come within the deadline.

    A request has 8 rows and a batch one, so 24 clients offer many times what the device can do.
    """
    deadline, clients, wanted = 0.5, 24, 200
    bundle = make_bundle(slow=10, serving={"max_rows": 1, "queue_rows": 2000, "deadline": deadline})
    answered: list[float] = []
    refused: list[str | None] = []
    others: list[int] = []
    with running_server(bundle=bundle) as server:

        def keep_asking() -> None:
            with server.client() as client:
                while len(answered) < wanted:
                    sent = time.monotonic()
                    status, headers, _ = client.request("POST", f"/v1/models/{server.model}:predict", MANY)
                    if status == 200:
                        answered.append(time.monotonic() - sent)
                    elif status == 429:
                        refused.append(headers.get("retry-after"))
                    elif status != 504:
                        others.append(status)

        threads = [threading.Thread(target=keep_asking) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with server.client() as client:
            assert client.request("GET", "/v2/health/live")[0] == 200
    assert others == []
    assert refused
    assert all(after is not None and int(after) >= 1 for after in refused)
    # A second more: the clients share their processors with the server and with each other.
    assert float(np.quantile(answered, 0.99)) < deadline + 1.0


def jpeg() -> bytes:
    """Return a picture of twelve million pixels, in several scans: it takes long to decode, and not to send."""
    file = io.BytesIO()
    shades = Image.linear_gradient("L").resize((4000, 3000))
    Image.merge("RGB", (shades, shades.rotate(90), shades.rotate(180))).save(file, "JPEG", progressive=True)
    return file.getvalue()


class PictureClients:
    """Clients of one connection each, that send a picture again at once; who was refused waits for others' answers.

    Each answer lets three of those try again. `waited` has by status how long the answers took, from the last byte
    sent, and `retry_after` what the refusals said.
    """

    def __init__(self, server: Server, answers: int) -> None:
        self._server, self._answers, self._body = server, answers, jpeg()
        self._answered = threading.Condition()
        self.waited: dict[int, list[float]] = {200: [], 429: [], 504: []}
        self.retry_after: list[str | None] = []

    def run(self, clients: int) -> float:
        """Send until there are enough answers, or as many came late; returns the seconds for each answer."""
        threads = [threading.Thread(target=self._keep_asking) for _ in range(clients)]
        begun = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return (time.monotonic() - begun) / max(len(self.waited[200]), 1)

    def _keep_asking(self) -> None:
        connection = http.client.HTTPConnection(self._server.url.removeprefix("http://"), timeout=60)
        path, headers = f"/v1/models/{self._server.model}:predict", {"content-type": "image/jpeg"}
        while not self._enough():
            connection.request("POST", path, self._body, headers)
            sent = time.monotonic()
            response = connection.getresponse()
            response.read()
            self.waited[response.status].append(time.monotonic() - sent)
            with self._answered:
                if response.status == 429:
                    self.retry_after.append(response.headers["retry-after"])
                    if not self._enough():
                        self._answered.wait(1.0)  # should the last answer have come already
                elif self._enough():
                    self._answered.notify_all()
                else:
                    self._answered.notify(3)
        connection.close()

    def _enough(self) -> bool:
        return max(len(self.waited[200]), len(self.waited[504])) >= self._answers


@pytest.mark.slow
def test_pictures_that_could_not_be_decoded_in_time_are_refused_at_once(make_bundle: MakeBundle) -> None:
    """At four times the capacity: the excess is refused soon, and what is accepted is answered in time.

    What they can do is measured first, with a connection for each; 12 times as many clients would need four times the
    deadline.
    """
    with running_server(bundle=make_bundle(serving={"deadline": 60.0})) as server:
        PictureClients(server, 10).run(THREADS)
        one = PictureClients(server, 50).run(THREADS)
    deadline = 12 * THREADS * one / 4
    in_time = deadline + 0.5  # the server shares its processors with the clients
    bundle = make_bundle(serving={"deadline": deadline, "latency_edges_ms": [1000 * in_time]})
    with running_server(bundle=bundle) as server:
        clients = PictureClients(server, 100)
        clients.run(12 * THREADS)
        with server.client() as client:
            page = client.metrics_text()
    waited = clients.waited
    counted = re.search(rf'sextant_request_seconds_bucket{{le="{in_time}",.*}} (\d+)', page)
    assert len(waited[200]) > 5 * len(waited[504])
    assert counted is not None
    assert int(counted[1]) == sum(map(len, waited.values()))
    assert len(waited[429]) > len(waited[200])
    assert all(after is not None and int(after) >= 1 for after in clients.retry_after)
    assert statistics.median(waited[429]) < statistics.median(waited[200]) / 4


def test_clients_that_follow_readiness_never_see_a_stop(make_bundle: MakeBundle) -> None:
    """With routes that follow readiness, as in a cluster, no request of the load fails; the exit code is 0."""
    leave, answered = threading.Event(), threading.Semaphore(0)
    failures: list[object] = []
    with running_server(bundle=make_bundle(slow=20), arguments=["--linger-seconds", "600"]) as server:
        host = server.url.removeprefix("http://")

        def ask_until_routes_move() -> None:
            connection = http.client.HTTPConnection(host, timeout=30)
            body = b'{"instances": [{"image": %s}]}' % str([[[0]] * 8] * 8).encode()
            try:
                while not leave.is_set():
                    connection.request("POST", "/v1/models/parcels:predict", body)
                    response = connection.getresponse()
                    response.read()
                    if response.status != 200:
                        failures.append(response.status)
                    answered.release()
            except (OSError, http.client.HTTPException) as error:
                failures.append(error)
                answered.release()
            finally:
                connection.close()

        threads = [threading.Thread(target=ask_until_routes_move) for _ in range(6)]
        for thread in threads:
            thread.start()
        for _ in range(60):
            answered.acquire()
        server.process.send_signal(signal.SIGTERM)
        with server.client() as probe:
            while probe.ready():
                pass
        for _ in range(30):  # routes take their time to move; meanwhile the server goes on answering
            answered.acquire()
        leave.set()
        for thread in threads:
            thread.join()
        server.process.send_signal(signal.SIGTERM)  # a second one ends the linger
        assert server.process.wait(30) == 0
    assert failures == []
