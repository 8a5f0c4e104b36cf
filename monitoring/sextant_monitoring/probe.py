"""The golden-request probe: the bundle's own requests, sent as a client would, must be answered as sealed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sextant_monitoring.http import ServerSilent, post_json
from sextant_plan.bundle import GOLDEN_FILE, BundleSpec, read_bundle

OUTPUT = "probabilities"


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


def probe(url: str, bundle: Path, *, token: str | None = None) -> ProbeResult | None:
    """Send each golden request of `bundle` to the server at `url`; None while another version answers.

    A request that is refused or not answered counts as wrong. Raises BundleCorrupt.
    """
    spec = read_bundle(bundle)
    with np.load(bundle / GOLDEN_FILE, allow_pickle=False) as file:
        golden = {name: file[name] for name in file.files}
    right, slowest, rows = 0, 0.0, len(golden[OUTPUT])
    for row in range(rows):
        begun = time.perf_counter()
        answer = _ask(url, spec, {name: array[row : row + 1] for name, array in golden.items()}, token)
        slowest = max(slowest, time.perf_counter() - begun)
        if answer is None:
            continue
        if answer.get("model_version") != spec.version:
            return None
        right += _is_as_sealed(answer, golden[OUTPUT][row], spec.golden_tolerance)
    return ProbeResult(spec.version, right, rows, slowest)


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
    body = {"inputs": inputs, "outputs": [{"name": OUTPUT}]}
    try:
        answer: dict[str, Any] = post_json(f"{url}/v2/models/{spec.name}/infer", body, token)
    except ServerSilent:
        return None
    return answer


def _is_as_sealed(answer: Mapping[str, Any], expected: NDArray[Any], tolerance: float) -> bool:
    found: list[float] = next((output["data"] for output in answer["outputs"] if output["name"] == OUTPUT), [])
    return len(found) == len(expected) and bool(np.abs(np.asarray(found) - expected).max() <= tolerance)
