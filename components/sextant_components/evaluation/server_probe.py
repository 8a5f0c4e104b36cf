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

from sextant_components.data.tables import image_bytes, read_rows
from sextant_components.evaluation.wrong_inputs import Refusal, send_wrong
from sextant_plan.bundle import BundleSpec

if TYPE_CHECKING:
    from sextant_serving.client import Client

WARM_UP = 20  # requests that do not count: connections, caches and lazy imports
NO_FEATURES = 422  # also where an on-demand function fails on the row; the plan's `reject` is of both


@dataclass(frozen=True)
class Request:
    """One row as a client sends it: the picture's bytes if the model takes one, columns and key by name."""

    picture: bytes | None
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class ColdStart:
    """From the start of the process: until the server says it is ready, in seconds; then the first answer, in ms.

    The latter is None if the first request was not answered.
    """

    ready_seconds: float
    first_ms: float | None


@dataclass(frozen=True)
class Probe:
    """What came back of the sound requests, the wrong ones, and the sound one after them.

    `milliseconds` are the times of the requests that the server answered or failed on: by a 5xx code, or by no answer
    at all. `answers` has an entry for each request, None without one. `refused` are the 4xx codes of sound requests,
    `unserved` those that had to be refused, because the plan rejects rows that the feature store has nothing for.
    `unharmed` is None if no sound request had an answer before the wrong ones.
    """

    milliseconds: list[float]
    failed: int
    answers: list[NDArray[np.float32] | None]
    start: ColdStart | None = None
    refusals: list[Refusal] = field(default_factory=list)
    unharmed: bool | None = True
    refused: list[int] = field(default_factory=list)
    unserved: int = 0

    @property
    def unanswered(self) -> str | None:
        """Why nothing can be said of the requests, in words: some were refused, or none was served; None if it can."""
        if self.refused:
            codes = ", ".join(map(str, sorted(set(self.refused))))
            return f"{len(self.refused)} of {len(self.answers)} sound requests were refused ({codes})"
        if not self.milliseconds:
            return f"all {self.unserved} sound requests were refused for want of features, as the plan says reject"
        return None


@dataclass(frozen=True)
class _Sent:
    """What came of one request: its answer, or the HTTP code that was given instead, 0 for no answer at all."""

    answer: NDArray[np.float32] | None
    status: int
    milliseconds: float

    @property
    def refused(self) -> bool:
        """Whether the server takes the request for wrong, or itself for too busy."""
        return 400 <= self.status < 500


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
        ready = time.perf_counter() - began
        first = _send(client, spec, requests[0])
        cold = ColdStart(ready, first.milliseconds if first.answer is not None else None)
        for number in range(WARM_UP):
            _send(client, spec, requests[number % len(requests)])
        sent = [_send(client, spec, requests[number % len(requests)]) for number in range(count)]
        refusals = send_wrong(client, spec, requests[0].picture)
        unharmed = _is_unharmed(client, spec, requests, sent)
    taken, refused = [each for each in sent if not each.refused], [each for each in sent if each.refused]
    unserved = [each for each in refused if _has_no_features(spec, each)]
    return Probe(
        [each.milliseconds for each in taken],
        sum(each.answer is None for each in taken),
        [each.answer for each in sent],
        cold,
        refusals,
        unharmed,
        [each.status for each in refused if not _has_no_features(spec, each)],
        len(unserved),
    )


def _has_no_features(spec: BundleSpec, sent: _Sent) -> bool:
    """Tell whether a request was refused as the plan wants it, and as it will be in service."""
    stored = spec.feature_service is not None and spec.serving.missing_features == "reject"
    return stored and sent.status == NO_FEATURES


def _is_unharmed(client: Client, spec: BundleSpec, requests: Sequence[Request], sent: Sequence[_Sent]) -> bool | None:
    """Send the first request that had an answer again; tell whether it is the same, None if none had one."""
    for number, each in enumerate(sent):
        if each.answer is not None:
            after = _send(client, spec, requests[number % len(requests)]).answer
            return after is not None and bool(np.abs(after - each.answer).max() <= spec.golden_tolerance)
    return None


def _send(client: Client, spec: BundleSpec, request: Request) -> _Sent:
    """Send one request and take its time."""
    from sextant_serving.client import Refused

    answer, status = None, 200
    start = time.perf_counter()
    try:
        answer = ask(client, spec, request)
    except Refused as error:
        status = error.status
    except (OSError, http.client.HTTPException):
        status = 0
    return _Sent(answer, status, (time.perf_counter() - start) * 1000)


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
