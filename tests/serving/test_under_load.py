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

from sextant_serving.client import Tensor
from sextant_serving.launch import running_server

MakeBundle = Callable[..., Path]

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
