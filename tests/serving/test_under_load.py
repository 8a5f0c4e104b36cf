"""What holds while clients keep the server busy: liveness is prompt, and a stop loses no request."""

from __future__ import annotations

import http.client
import signal
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import pytest

from sextant_serving.client import Tensor
from sextant_serving.launch import running_server

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
