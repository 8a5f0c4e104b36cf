"""Requests to a real server on the bundle: how long they take, how many fail, and whether the answers agree."""

from __future__ import annotations

import http.client
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sextant_components.tables import image_bytes, read_rows
from sextant_components.wrong_inputs import Refusal, send_wrong
from sextant_plan.bundle import BundleSpec

if TYPE_CHECKING:
    from sextant_serving.client import Client

WARM_UP = 20  # requests that do not count: connections, caches and lazy imports


@dataclass(frozen=True)
class Request:
    """One row as a client sends it: the picture's bytes if the model takes one, columns and key by name."""

    picture: bytes | None
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class ColdStart:
    """From the start of the process: until the server says it is ready, in seconds; then the first answer, in ms."""

    ready_seconds: float
    first_ms: float


@dataclass(frozen=True)
class Probe:
    """What came back: times of all counted requests, how many failed, and the answers by request.

    A request failed if it was answered with a 5xx code or not at all; its answer is None, as is that of one
    answered with a 4xx code.
    """

    milliseconds: list[float]
    failed: int
    answers: list[NDArray[np.float32] | None]
    start: ColdStart | None = None
    refusals: list[Refusal] = field(default_factory=list)
    unharmed: bool = True


def requests_of(snapshot: Path, row_ids: Sequence[int], spec: BundleSpec) -> list[Request]:
    """Return the rows as requests, with only what the bundle reads."""
    sent = [column.name for column in spec.columns if column.view is None]
    sent += [column.name for each in spec.serving.on_demand for column in each.request if column.name not in sent]
    if spec.feature_service is not None and spec.entity is not None:
        sent.append(spec.entity)
    rows = read_rows(snapshot)[list(row_ids)].select(sent).to_dicts() if sent else [{} for _ in row_ids]
    pictures = image_bytes(snapshot, row_ids) if spec.image else [None] * len(row_ids)
    return [Request(picture, row) for picture, row in zip(pictures, rows, strict=True)]


def probe_server(
    bundle: Path, spec: BundleSpec, requests: Sequence[Request], *, count: int, feature_repo: Path | None
) -> Probe:
    """Start a server on the bundle, send it `count` requests of one row in turn, then wrong ones, and stop it.

    Raises ServerDidNotStart.
    """
    from sextant_serving.launch import running_server

    repo = feature_repo if spec.feature_service is not None else None
    began = time.perf_counter()
    with running_server(bundle=bundle, feature_repo=repo) as server, server.client() as client:
        ready = time.perf_counter()
        _send(client, spec, requests[0])
        cold = ColdStart(ready - began, (time.perf_counter() - ready) * 1000)
        for number in range(WARM_UP):
            _send(client, spec, requests[number % len(requests)])
        times: list[float] = []
        answers: list[NDArray[np.float32] | None] = []
        failed = 0
        for number in range(count):
            start = time.perf_counter()
            answer, broken = _send(client, spec, requests[number % len(requests)])
            times.append((time.perf_counter() - start) * 1000)
            answers.append(answer)
            failed += broken
        refusals = send_wrong(client, spec, requests[0].picture)
        after, _ = _send(client, spec, requests[0])
    return Probe(times, failed, answers, cold, refusals, unharmed=_alike(after, answers[0], spec.golden_tolerance))


def _alike(one: NDArray[np.float32] | None, other: NDArray[np.float32] | None, tolerance: float) -> bool:
    if one is None or other is None:
        return one is other
    return bool(np.abs(one - other).max() <= tolerance)


def _send(client: Client, spec: BundleSpec, request: Request) -> tuple[NDArray[np.float32] | None, bool]:
    """Send one request; return its probabilities, None if refused, and whether it failed."""
    from sextant_serving.client import Refused

    try:
        return ask(client, spec, request), False
    except Refused as error:
        return None, error.status >= 500
    except (OSError, http.client.HTTPException):
        return None, True


def ask(client: Client, spec: BundleSpec, request: Request) -> NDArray[np.float32]:
    """Return the server's answer for one row, shape (classes,), or (1,) if it is a number. Raises Refused."""
    if request.picture is not None:
        row: NDArray[np.float32] = client.infer_picture(request.picture, request.fields)[spec.answer][0]
        return row
    answer = client.predict_v1([dict(request.fields)])[0]
    if not spec.classes:
        return np.asarray([answer[spec.answer]], dtype=np.float32)
    probabilities = answer[spec.answer]
    return np.asarray([probabilities[name] for name in spec.classes], dtype=np.float32)
