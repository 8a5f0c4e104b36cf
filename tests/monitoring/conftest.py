"""A plan with every alert, a server's page written by prometheus_client, and the real promtool."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from tests.programs import program

from sextant_monitoring.rules_file import render_rules
from sextant_plan.catalogue import COMMON_LABELS, READY, REQUEST_SECONDS, SERIES
from sextant_plan.schema import Plan
from sextant_plan.window import Sample, Selector, Window

COUNTED: list[dict[str, Any]] = [
    {"id": "accuracy", "metric": "accuracy", "at_least": 0.9, "enforce": ["gate", "retrain"]},
    {"id": "coverage", "metric": "coverage", "at_least": 0.9, "enforce": ["gate", "alert"]},
    {"id": "latency", "metric": "latency_p99_ms", "at_most": 50, "enforce": ["gate", "alert"]},
    {"id": "median", "metric": "latency_p50_ms", "at_most": 1000, "enforce": ["alert"]},
    {"id": "errors", "metric": "error_rate", "at_most": 0.01, "confidence": 0.99, "enforce": ["gate", "alert"]},
    {"id": "input-drift", "metric": "input_psi", "at_most": 0.1, "enforce": ["alert", "retrain"]},
]
CRITERIA: list[dict[str, Any]] = [
    *COUNTED,
    {"id": "answers", "metric": "prediction_psi", "at_most": 0.1, "enforce": ["alert"]},
    {"id": "bias", "metric": "prediction_bias", "at_most": 0.1, "enforce": ["alert"]},
    {"id": "live", "metric": "accuracy", "at_least": 0.8, "enforce": ["alert"]},
    {"id": "night", "metric": "accuracy", "at_least": 0.8, "slice": "light=night", "enforce": ["alert"]},
    {"id": "labels", "metric": "label_join_rate", "at_least": 0.5, "enforce": ["alert"]},
    {"id": "ratings", "metric": "satisfaction", "at_least": 0.5, "enforce": ["alert"]},
    {"id": "odd", "metric": "odd_rate", "at_most": 0.05, "enforce": ["alert"]},
    {"id": "missing", "metric": "missing_rate", "at_most": 0.05, "enforce": ["alert"]},
    {"id": "unknown", "metric": "unknown_rate", "at_most": 0.05, "enforce": ["alert"]},
    {"id": "queue", "metric": "queue_wait_p99_ms", "at_most": 50, "enforce": ["alert"]},
    {"id": "busy", "metric": "device_busy", "at_most": 0.8, "enforce": ["alert"]},
    {"id": "refused", "metric": "client_error_rate", "at_most": 0.2, "enforce": ["alert"]},
    {"id": "traffic", "metric": "traffic_change", "at_most": 4, "enforce": ["alert"]},
    {"id": "age", "metric": "model_age_days", "at_most": 60, "enforce": ["alert"]},
    {"id": "ageing", "metric": "staleness_loss", "at_most": 0.02, "enforce": ["alert"]},
    {"id": "freshness", "metric": "feature_age_hours", "at_most": 24, "enforce": ["alert"]},
    {"id": "probe", "metric": "probe_success", "at_least": 1, "enforce": ["alert"]},
    {"id": "memory", "metric": "pod_memory", "at_most": 0.9, "enforce": ["alert"]},
    {"id": "gpu-memory", "metric": "gpu_memory", "at_most": 0.95, "enforce": ["alert"]},
    {"id": "gpu-heat", "metric": "gpu_celsius", "at_most": 85, "enforce": ["alert"]},
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
            "serving": {"hardware": {"gpu": 1}, "latency_slo_ms": 50},
            "monitoring": {"window": "10m", "min_rows": 200},
            "failure": [
                {"mode": "store-down", "fallback": "defaults", "recover_within": "5m", "alert": "feature-outage"}
            ],
        }
        return Plan.model_validate({**fields, **parts})

    return make


@pytest.fixture
def counted_plan(make_plan: PlanMaker) -> Plan:
    """Return the plan with the criteria that the server's requests, answers and inputs alone decide."""
    return make_plan(criteria=COUNTED)


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


TARGET = {"model": "parcels", "version": "1", "variant": "stable"}
Series = tuple[str, frozenset[tuple[str, str]]]


@dataclass
class Story:
    """What is scraped every minute: counters grow evenly and gauges stand, each otherwise from minute `since` on."""

    minutes: int = 115
    since: int = 103
    counters: dict[Series, tuple[float, float]] = field(default_factory=dict)
    gauges: dict[Series, tuple[float, float]] = field(default_factory=dict)

    def grows(self, name: str, rate: float, later: float | None = None, **labels: str) -> None:
        """Let a counter of the model grow by `rate` a minute, and by `later` from the break on."""
        self.counters[name, frozenset({**TARGET, **labels}.items())] = (rate, rate if later is None else later)

    def stands(self, name: str, value: float, later: float | None = None, **labels: str) -> None:
        """Let a gauge of the model stand at `value`, and at `later` from the break on."""
        self.gauges[name, frozenset({**TARGET, **labels}.items())] = (value, value if later is None else later)

    def input_series(self) -> list[dict[str, str]]:
        """Return promtool's input series."""
        rest = self.minutes - self.since - 1
        lines = []
        for (name, labels), (rate, later) in self.counters.items():
            values = f"0+{rate!r}x{self.since} {rate * self.since + later!r}+{later!r}x{rest}"
            lines.append({"series": _written(name, labels), "values": values})
        for (name, labels), (value, later) in self.gauges.items():
            values = f"{value!r}+0x{self.since} {later!r}+0x{rest}"
            lines.append({"series": _written(name, labels), "values": values})
        return lines

    def window(self, seconds: float, others: Iterable[float] = ()) -> Window:
        """Return the last window in process, with those of other lengths."""
        nested = {span: self.window(span) for span in others if span <= 60 * self.minutes}
        return Window(tuple(self._samples(seconds / 60)), 60.0 * self.minutes, seconds, nested)

    def _samples(self, span: float) -> Iterable[Sample]:
        for (name, labels), (rate, later) in self.counters.items():
            after = min(span, self.minutes - self.since)
            yield Sample(name, dict(labels), later * after + rate * (span - after))
        for (name, labels), (_, value) in self.gauges.items():
            yield Sample(name, dict(labels), value)


def _written(name: str, labels: Iterable[tuple[str, str]]) -> str:
    return Selector.of(name, **dict(sorted(labels))).promql()


@pytest.fixture
def healthy() -> Story:
    """Return the story of a healthy server with everything around it that an alert reads."""
    story = Story()
    story.grows("sextant_requests_total", 300, code="200")
    story.grows("sextant_requests_total", 3, code="400")
    story.grows("sextant_requests_total", 0, code="500")
    for name in ("sextant_request_seconds", "sextant_queue_wait_seconds"):
        for edge in ("0.05", "1.0", "+Inf"):
            story.grows(f"{name}_bucket", 303, le=edge)
        story.grows(f"{name}_count", 303)
        story.grows(f"{name}_sum", 3)
    for name in ("sextant_device_seconds", "sextant_decode_seconds", "sextant_feature_lookup_seconds"):
        for edge in ("0.05", "+Inf"):
            story.grows(f"{name}_bucket", 30, le=edge)
        story.grows(f"{name}_count", 30)
        story.grows(f"{name}_sum", 20)
    story.grows("sextant_batch_rows_sum", 300)
    story.grows("sextant_batch_rows_count", 30)
    for name in ("a", "b"):
        of_class: dict[str, Any] = {"class": name}
        story.grows("sextant_predictions_total", 148, **of_class)
    story.grows("sextant_fallbacks_total", 4, reason="low-confidence")
    story.grows("sextant_fallbacks_total", 0, reason="feature-outage")
    story.grows("sextant_fallbacks_total", 0, reason="out-of-distribution")
    story.grows("sextant_feedback_total", 90, outcome="agree")
    story.grows("sextant_feedback_total", 3, outcome="disagree")
    story.grows("sextant_ratings_total", 80, rating="5")
    story.grows("sextant_ratings_total", 10, rating="1")
    for flaw in ("missing", "unknown-category"):
        story.grows("sextant_flawed_rows_total", 3, flaw=flaw)
    shares = {"weight": (0.25, 0.5, 0.25), "height": (0.2, 0.8), "prediction": (0.5, 0.5)}
    for feature, bins in shares.items():
        for place, share in enumerate(bins):
            story.grows("sextant_feature_bin_total", 300 * share, feature=feature, bin=str(place))
            story.stands("sextant_reference_ratio", share, feature=feature, bin=str(place))
    story.stands("sextant_ready", 1)
    story.stands("sextant_model_created_timestamp_seconds", -10 * 86400.0)
    story.stands("sextant_feature_event_timestamp_seconds", 0.0, view="measures")
    for state, rows in (("found", 300), ("stale", 6), ("absent", 3)):
        story.grows("sextant_feature_rows_total", rows, view="measures", state=state)
    story.stands("sextant_probe_success", 1)
    story.stands("sextant_probe_seconds", 0.01)
    for bound, value in (("value", 0.9), ("low", 0.86), ("high", 0.93)):
        story.stands("sextant_quality_ratio", value, criterion="night", bound=bound)
    story.stands("sextant_quality_rows", 400, criterion="night")
    story.stands("sextant_label_join_ratio", 0.8)
    story.stands("sextant_labelled_rows", 400)
    story.stands("sextant_prediction_bias_ratio", 0.01, **of_class)
    story.stands("sextant_prediction_bias_standard_error_ratio", 0.01, **of_class)
    for bound, value in (("value", 5e-4), ("low", 4e-4), ("high", 6e-4)):
        story.stands("sextant_staleness_loss_per_day_ratio", value, bound=bound)
    pod: dict[str, Any] = {"pod": "parcels-predictor-5d9", "container": "kserve-container"}
    story.stands("container_memory_working_set_bytes", 1e9, **pod)
    story.stands("kube_pod_container_resource_limits", 2e9, resource="memory", **pod)
    story.grows("kube_pod_container_status_restarts_total", 0, **pod)
    gpu: dict[str, Any] = {"pod": "parcels-predictor-5d9", "gpu": "0"}
    for name, value in (("FB_USED", 10e3), ("FB_FREE", 30e3), ("GPU_TEMP", 60), ("GPU_UTIL", 70), ("XID_ERRORS", 0)):
        story.stands(f"DCGM_FI_DEV_{name}", value, **gpu)
    return story


@pytest.fixture(scope="session")
def promtool() -> str:
    """Return the path of promtool; without it the test is skipped, or fails where servers are required."""
    return program("promtool")


@pytest.fixture
def check(promtool: str, tmp_path: Path) -> Callable[..., None]:
    """Return a function that runs promtool's tests against a plan's rules; a failure shows what promtool said."""

    def run(plan: Plan, *tests: dict[str, Any]) -> None:
        (tmp_path / "rules.yaml").write_text(render_rules(plan))
        document = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": list(tests)}
        (tmp_path / "tests.yaml").write_text(yaml.safe_dump(document))
        command = [promtool, "test", "rules", "tests.yaml"]
        done = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    return run
