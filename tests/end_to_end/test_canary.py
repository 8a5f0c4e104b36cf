"""A second version of the tiny plan takes over from the first as a canary, on requests sent meanwhile."""

from __future__ import annotations

import json
import threading
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sextant_plan.bundle import GOLDEN_FILE
from sextant_serving.client import Client

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(900)]
ERRORS = "{id: errors, metric: error_rate, at_most: 0.02, min_n: 200, enforce: [gate, alert]}"
POLICY = "rollout: {strategy: canary, steps: [50, 100], interval: 500ms, min_looks: 2, deadline: 5m}\n"


def _active(workshop: Any) -> dict[str, Any]:
    active: dict[str, Any] = json.loads((workshop.home / "active.json").read_bytes())
    return active


def _ask(url: str, bundle: Path, stop: threading.Event, statuses: list[int]) -> None:
    with np.load(bundle / GOLDEN_FILE, allow_pickle=False) as golden:
        image = golden["image"][:1]
    described = {"name": "image", "datatype": "UINT8", "shape": list(image.shape), "data": image.ravel().tolist()}
    body = json.dumps({"inputs": [described]}).encode()
    with Client(url) as client:
        while not stop.is_set():
            try:
                sent = client.request("POST", "/v2/models/tiny/infer", body, {"content-type": "application/json"})
            except (OSError, HTTPException):
                return  # the address ends with the rollout; without requests before that, it would not be promoted
            statuses.append(sent[0])


def test_a_staged_version_takes_over_on_real_requests(workshop: Any) -> None:
    """The first goes live at once, the second waits as unknown, and `sextant rollout start` ends with it in service."""
    workshop.edit_plan(ERRORS, ERRORS.replace("[gate, alert]", "[gate, alert, canary]"))
    workshop.plan.write_text(workshop.plan.read_text() + POLICY)
    first = workshop.run("run")
    assert first.returncode == 0, first.stdout + first.stderr
    workshop.edit_plan("epochs: 8", "epochs: 9")
    second = workshop.run("run", "--run-id", "second")
    assert second.returncode == 3, second.stdout + second.stderr
    live = _active(workshop)
    assert live["version"] == "1"

    stop, statuses = threading.Event(), list[int]()
    with workshop.start("rollout", "start", "--port", "0") as process:
        url = process.stderr.readline().split()[3].rstrip(";")
        clients = [threading.Thread(target=_ask, args=(url, Path(live["bundle"]), stop, statuses)) for _ in range(2)]
        for client in clients:
            client.start()
        told = []
        for line in process.stderr:
            told.append(line)
            if line.startswith("promoted"):
                stop.set()
        stop.set()
        out = process.stdout.read()
        for client in clients:
            client.join()
    assert process.returncode == 0, out + "".join(told)
    assert set(statuses) == {200}
    assert (_active(workshop)["version"], _active(workshop)["previous"]["version"]) == ("2", "1")
    assert "phase    promoted" in out
    assert json.loads((workshop.home / "runs" / "second" / "conclusion.json").read_bytes())["exit_code"] == 0
