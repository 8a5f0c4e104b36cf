"""A quick baseline in the real server: how long a request takes, and how many a second it carries."""

from __future__ import annotations

import math
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from sextant_components.evaluation.server_probe import Request, ask
from sextant_components.planning.feasibility.heading import CONFIDENCE, Heading, Study
from sextant_components.planning.feasibility.quick_bundle import quick_bundle
from sextant_plan.bundle import BundleSpec
from sextant_plan.statistics.quantiles import quantile
from sextant_plan.verdicts import Estimate, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sextant_serving.launch import Server

REQUESTS = 300  # one after the other: with 299 a 99th percentile has an upper bound at 95 %
SECONDS = 3.0  # at most for them, so that a server that is far too slow does not hold the study up
CONNECTIONS = 4
LOADED_SECONDS = 0.5


@dataclass(frozen=True)
class ServedLoad:
    """Milliseconds of single requests one after the other, and requests a second over several connections at once."""

    milliseconds: list[float]
    requests_a_second: float

    @property
    def median(self) -> Estimate:
        """The median with its bounds, in ms."""
        return quantile(self.milliseconds, 0.5, CONFIDENCE)

    @property
    def p99(self) -> Estimate:
        """The 99th percentile with its bounds, in ms."""
        return quantile(self.milliseconds, 0.99, CONFIDENCE)


def serve_quickly(study: Study) -> ServedLoad | None:
    """Serve ridge regression by the plan's batching in a process of its own, and ask it with the study's own rows.

    None where the server takes none of them. Raises ServerDidNotStart.
    """
    from sextant_serving.launch import running_server

    with tempfile.TemporaryDirectory() as folder:
        bundle = quick_bundle(study, Path(folder))
        with running_server(bundle=bundle.folder) as server:
            asked = [Asked(bundle.spec, request) for request in bundle.requests()]
            taken = _taken(server, asked)  # which also warms it up
            if not taken:
                return None
            milliseconds = _one_by_one(server, taken)
            with ThreadPoolExecutor(CONNECTIONS) as pool:
                done = sum(pool.map(lambda _: _answered(server, taken), range(CONNECTIONS)))
    return ServedLoad(milliseconds, done / LOADED_SECONDS)


def assess(study: Study, load: ServedLoad | None) -> Heading:
    """Hold the 99th percentile of the served baseline against the objective.

    It informs: what a quick model takes on the machine that planned it is a floor for the one that will be served.
    """
    limit = study.plan.serving.latency_slo_ms
    found = load.p99 if load is not None else None
    return Heading(
        task="feasibility: load pre-test",
        requirement="a quick model in the real server is not proved to miss the latency objective",
        risk="the objective is out of reach for any model, and it is found out once the best one is trained",
        qa_method=f"ridge regression as a bundle in a server on this machine: up to {REQUESTS} requests one after the "
        f"other, then {CONNECTIONS} connections at once; order-statistic bounds at {CONFIDENCE:g}; it informs and does "
        "not judge",
        value={"requests": 0}
        if load is None or found is None
        else {
            "requests": found.n,
            "median_ms": round(load.median.value, 3),
            "p99_ms": round(found.value, 3),
            "p99_at_least_ms": round(found.low, 3),
            "p99_at_most_ms": round(found.high, 3) if math.isfinite(found.high) else None,
            "requests_a_second": round(load.requests_a_second, 1),
            "connections": CONNECTIONS,
            "latency_slo_ms": limit,
        },
        verdict=Verdict.PASS if found is not None and found.low <= limit else Verdict.UNKNOWN,
        counts=False,
    )


@dataclass(frozen=True)
class Asked:
    """One request of a bundle's."""

    spec: BundleSpec
    request: Request


def _taken(server: Server, asked: Sequence[Asked]) -> list[Asked]:
    """Return the requests that the server answers; a picture that cannot be read is verify's to count."""
    from sextant_serving.client import Refused

    taken = []
    with server.client() as client:
        for each in asked:
            try:
                ask(client, each.spec, each.request)
            except Refused:
                continue
            taken.append(each)
    return taken


def _one_by_one(server: Server, asked: Sequence[Asked]) -> list[float]:
    milliseconds: list[float] = []
    began = time.perf_counter()
    with server.client() as client:
        for each in cycle(asked):
            start = time.perf_counter()
            if len(milliseconds) == REQUESTS or start - began > SECONDS:
                return milliseconds
            ask(client, each.spec, each.request)
            milliseconds.append(1000 * (time.perf_counter() - start))
    return milliseconds


def _answered(server: Server, asked: Sequence[Asked]) -> int:
    """Return how many requests one connection got answered in the time that there is."""
    end, done = time.perf_counter() + LOADED_SECONDS, 0
    with server.client() as client:
        for each in cycle(asked):
            if time.perf_counter() > end:
                break
            ask(client, each.spec, each.request)
            done += 1
    return done
