"""The golden-request probe: the bundle's own requests, sent as a client would, must be answered as sealed."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sextant_monitoring.http import ServerSilent, post_json
from sextant_plan.bundle import GOLDEN_FILE, BundleSpec, read_bundle


@dataclass(frozen=True)
class ProbeResult:
    """How many of the golden requests were answered as sealed, by which version, and the slowest in seconds."""

    version: str
    right: int
    sent: int
    slowest: float

    @property
    def success(self) -> float:
        """The share of golden requests answered as sealed."""
        return self.right / self.sent


class Prober:
    """Asks one golden request after the other, so that all of a bundle's are asked once in `every` seconds.

    They are few beside the window's own rows, because the server counts them like any other.
    """

    def __init__(self, url: str, bundle: Path, version: str, *, every: float, token: str | None = None) -> None:
        """Probe the server at `url`, which serves `bundle` under this version or its own. Raises BundleCorrupt."""
        self._url, self.version, self._token = url, version, token
        self._spec = read_bundle(bundle)
        with np.load(bundle / GOLDEN_FILE, allow_pickle=False) as file:
            self._golden = {name: file[name] for name in file.files}
        rows = len(self._golden[self._spec.answer])
        self._pause = every / rows
        self._answers: deque[tuple[bool, float]] = deque(maxlen=rows)
        self._next, self._asked = 0, -math.inf

    def probe(self, now: float) -> ProbeResult | None:
        """Ask the next request if it is time (Unix seconds); return the result over all asked, None without any.

        A request that is refused or not answered is wrong; an answer of another version, as during a rollout, tells
        nothing.
        """
        if now - self._asked >= self._pause:
            self._asked = now
            self._ask_next()
        if not self._answers:
            return None
        right = sum(is_right for is_right, _ in self._answers)
        return ProbeResult(self.version, right, len(self._answers), max(seconds for _, seconds in self._answers))

    def _ask_next(self) -> None:
        row = self._next % len(self._golden[self._spec.answer])
        self._next += 1
        inputs = {name: array[row : row + 1] for name, array in self._golden.items()}
        begun = time.perf_counter()
        answer = _ask(self._url, self._spec, inputs, self._token)
        seconds = time.perf_counter() - begun
        if answer is not None and answer.get("model_version") not in {self.version, self._spec.version}:
            return
        sealed = self._golden[self._spec.answer][row]
        right = answer is not None and _is_as_sealed(answer, sealed, self._spec)
        self._answers.append((right, seconds))


def _ask(url: str, spec: BundleSpec, row: Mapping[str, NDArray[Any]], token: str | None) -> dict[str, Any] | None:
    inputs = [
        {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": list(row[tensor.name].shape),
            "data": row[tensor.name].ravel().tolist(),
        }
        for tensor in spec.inputs
    ]
    body = {"inputs": inputs, "outputs": [{"name": spec.answer}]}
    try:
        answer: dict[str, Any] = post_json(f"{url}/v2/models/{spec.name}/infer", body, token)
    except ServerSilent:
        return None
    return answer


def _is_as_sealed(answer: Mapping[str, Any], expected: NDArray[Any], spec: BundleSpec) -> bool:
    found: list[float] = next((output["data"] for output in answer["outputs"] if output["name"] == spec.answer), [])
    return len(found) == len(expected) and bool(np.abs(np.asarray(found) - expected).max() <= spec.golden_tolerance)
