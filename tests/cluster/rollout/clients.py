"""Clients of an InferenceService that ask without a break, and count every answer."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import uuid
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from sextant_serving.client import Client, Refused

CLIENTS = 2


@dataclass
class Load:
    """Clients through one address, at work within a `with`; a label goes to whichever predictor made the prediction."""

    model: str
    host: str
    address: str
    predictors: list[str]
    inputs: dict[str, Any]
    truth: str
    units: bool = False  # whether each request is of a unit of its own
    fresh: bool = False  # whether each request opens a connection of its own
    statuses: Counter[str] = field(default_factory=Counter)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Load:
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        body = json.dumps(self.inputs).encode()
        headers = {"Host": self.host, "content-type": "application/json"}
        with Client(self.address, timeout=65.0) as client:
            while not self._stop.wait(0.02):
                if self.units:
                    headers["x-sextant-unit"] = uuid.uuid4().hex
                try:
                    status, received, _ = client.request("POST", f"/v2/models/{self.model}/infer", body, headers)
                except (OSError, http.client.HTTPException) as error:
                    self.statuses[type(error).__name__] += 1
                    continue
                if self.fresh:
                    client.close()
                self.statuses[str(status)] += 1
                if status == 200:
                    self._tell(received.get("x-prediction-id", ""))

    def _tell(self, prediction: str) -> None:
        for url in self.predictors:
            # A predictor that is on its way out no longer takes labels.
            with contextlib.suppress(OSError, http.client.HTTPException, Refused), Client(url, timeout=5.0) as client:
                if client.send_feedback(prediction, self.truth) in {"agree", "disagree", "abstained"}:
                    return
