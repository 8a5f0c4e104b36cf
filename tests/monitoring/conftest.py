"""A plan with every alert, a server's page written by prometheus_client, and the real promtool."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from sextant_plan.catalogue import COMMON_LABELS, READY, REQUEST_SECONDS, SERIES
from sextant_plan.schema import Plan

CRITERIA: list[dict[str, Any]] = [
    {"id": "accuracy", "metric": "accuracy", "at_least": 0.9, "enforce": ["gate", "retrain"]},
    {"id": "coverage", "metric": "coverage", "at_least": 0.9, "enforce": ["gate", "alert"]},
    {"id": "latency", "metric": "latency_p99_ms", "at_most": 50, "enforce": ["gate", "alert"]},
    {"id": "median", "metric": "latency_p50_ms", "at_most": 1000, "enforce": ["alert"]},
    {"id": "errors", "metric": "error_rate", "at_most": 0.01, "confidence": 0.99, "enforce": ["gate", "alert"]},
    {"id": "input-drift", "metric": "input_psi", "at_most": 0.1, "enforce": ["alert", "retrain"]},
]

PlanMaker = Callable[..., Plan]


@pytest.fixture
def make_plan() -> PlanMaker:
    """Return a maker of plans called parcels with every kind of alert; keywords replace parts of it."""

    def make(**parts: Any) -> Plan:
        fields: dict[str, Any] = {
            "name": "parcels",
            "owner": {"team": "warehouse", "approvers": ["operations"]},
            "goal": {"business": "Sort parcels.", "why_ml": "Nobody can write the rules down."},
            "criteria": CRITERIA,
            "data": {
                "source": "data",
                "table": "table.csv",
                "columns": {"weight": {"type": "number"}, "height": {"type": "number"}},
                "licence": {"name": "CC0-1.0", "source": "made up", "allows_training": True},
                "consent": {"basis": "no persons"},
            },
            "model": {
                "task": "tabular-classification",
                "inputs": {"columns": ["weight", "height"]},
                "candidates": [{"architecture": "linear"}],
            },
            "monitoring": {"window": "10m", "min_rows": 200},
            "failure": [
                {"mode": "store-down", "fallback": "defaults", "recover_within": "5m", "alert": "feature-outage"}
            ],
        }
        return Plan.model_validate({**fields, **parts})

    return make


@dataclass(eq=False)
class Page:
    """What a server has counted, by series and by the labels beyond the common ones; latency by edge."""

    counters: dict[str, dict[tuple[str, ...], float]] = field(default_factory=dict)
    latency: dict[str, float] = field(default_factory=dict)
    ready: float | None = 1.0
    target: tuple[str, str, str] = ("parcels", "1", "stable")

    def render(self) -> str:
        """Return the page in the text format, as prometheus_client writes it."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry).decode()

    def collect(self) -> list[Any]:
        """Return the families (prometheus_client's collector protocol)."""
        families: list[Any] = []
        for name, samples in self.counters.items():
            series = SERIES[name]
            kind = CounterMetricFamily if series.type == "counter" else GaugeMetricFamily
            family = kind(name, series.help, labels=(*COMMON_LABELS, *series.labels))
            for labels, value in samples.items():
                family.add_metric((*self.target, *labels), value)
            families.append(family)
        if self.latency:
            histogram = HistogramMetricFamily(REQUEST_SECONDS.name, REQUEST_SECONDS.help, labels=COMMON_LABELS)
            histogram.add_metric(self.target, list(self.latency.items()), sum_value=0.0)
            families.append(histogram)
        if self.ready is not None:
            gauge = GaugeMetricFamily(READY.name, READY.help, labels=COMMON_LABELS)
            gauge.add_metric(self.target, self.ready)
            families.append(gauge)
        return families

    def grown(self, counters: Mapping[str, Mapping[tuple[str, ...], float]], latency: Mapping[str, float]) -> Page:
        """Return the page after so much more has been counted."""
        more = {
            name: {labels: samples.get(labels, 0.0) + added for labels, added in counters.get(name, samples).items()}
            if SERIES[name].type == "counter"
            else samples
            for name, samples in self.counters.items()
        }
        edges = {edge: value + latency.get(edge, 0.0) for edge, value in self.latency.items()}
        return Page(more, edges, self.ready, self.target)


@pytest.fixture
def new_page() -> Callable[..., Page]:
    """Return the maker of pages."""
    return Page


@pytest.fixture(scope="session")
def promtool() -> str:
    """Return the path of promtool; without it the test is skipped, or fails where servers are required."""
    path = shutil.which("promtool")
    if path is None:
        reason = "promtool is not installed (apt package prometheus)"
        if os.environ.get("SEXTANT_REQUIRE_SERVERS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return path
