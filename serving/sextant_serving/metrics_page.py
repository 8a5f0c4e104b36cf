"""The page that Prometheus reads: written line by line, since a scrape must not hold up the requests.

The lines of a model are made once and only their values read anew. Those of several processes that serve the same
models are added up, so that it does not matter which of them is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sextant_plan import catalogue
from sextant_plan.catalogue import COMMON_LABELS, SERIES, Series
from sextant_serving.metrics import Histogram, ModelMetrics, Samples

# By series: what each line says before its value, and the values. A process sends it to another as JSON.
State = dict[str, tuple[list[str], list[float]]]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class MetricsPage:
    """What GET /metrics shows: the served models, and after a hot swap those before it."""

    def __init__(self) -> None:
        self.served: list[ModelMetrics] = []
        self._models: list[ModelMetrics] = []
        self._starts: dict[int, dict[str, tuple[Sequence[Any], list[str]]]] = {}

    def show(self, served: Sequence[ModelMetrics]) -> None:
        """Show what is served now, and of what was served until now that which has other labels."""
        labels = {metrics.labels for metrics in served}
        self._models = [*(before for before in self.served if before.labels not in labels), *served]
        self.served = list(served)
        self._starts = {id(model): self._starts.get(id(model), {}) for model in self._models}

    def state(self) -> State:
        """Return every line's start and value."""
        found: State = {}
        for model in self._models:
            for samples in model.samples():
                starts, values = found.setdefault(samples.series.name, ([], []))
                starts += self._starts_of(model, samples)
                values += samples.values
            for histogram in model.histograms():
                starts, values = found.setdefault(histogram.series.name, ([], []))
                starts += self._starts_of(model, histogram)
                values += histogram.values()
        return found

    def _starts_of(self, model: ModelMetrics, source: Samples | Histogram) -> list[str]:
        """Return the lines' starts, made anew only when a label value has been added."""
        known, name = self._starts[id(model)], source.series.name
        cached = known.get(name)
        if cached is None or cached[0] != source.keys:
            if isinstance(source, Histogram):
                starts = _histogram_starts(source, model)
            else:
                starts = _sample_starts(source, model)
            cached = known[name] = (list(source.keys), starts)
        return cached[1]


def merge(states: Iterable[State]) -> State:
    """Add up what several processes count; of a gauge the largest is shown, and ready is what is ready in each."""
    merged: dict[str, dict[str, float]] = {}
    for state in states:
        for name, (starts, values) in state.items():
            lines = merged.setdefault(name, {})
            for start, value in zip(starts, values, strict=True):
                before = lines.get(start)
                lines[start] = value if before is None else _joined(SERIES[name], before, value)
    return {name: (list(lines), list(lines.values())) for name, lines in merged.items()}


def _joined(series: Series, one: float, other: float) -> float:
    if series is catalogue.READY:
        return min(one, other)
    return max(one, other) if series.type == "gauge" else one + other


def render(state: Mapping[str, tuple[Sequence[str], Sequence[float]]]) -> bytes:
    """Return the page in the Prometheus text format, version 0.0.4."""
    parts = []
    for name, (starts, values) in state.items():
        series = SERIES[name]
        parts.append(f"# HELP {name} {_escaped(series.help)}\n# TYPE {name} {series.type}\n")
        parts.extend([f"{start}{float(value)!r}\n" for start, value in zip(starts, values, strict=True)])
    return "".join(parts).encode()


def _sample_starts(samples: Samples, model: ModelMetrics) -> list[str]:
    name, labels = samples.series.name, COMMON_LABELS + samples.series.labels
    return [_start(name, dict(zip(labels, (*model.labels, *key), strict=True))) for key in samples.keys]


def _histogram_starts(histogram: Histogram, model: ModelMetrics) -> list[str]:
    name, labels = histogram.series.name, dict(zip(COMMON_LABELS, model.labels, strict=True))
    buckets = [_start(f"{name}_bucket", {**labels, "le": edge}) for edge in histogram.keys]
    return [*buckets, _start(f"{name}_count", labels), _start(f"{name}_sum", labels)]


def _start(name: str, labels: Mapping[str, str]) -> str:
    pairs = (f'{label}="{_escaped(value, quote=True)}"' for label, value in sorted(labels.items()))
    return f"{name}{{{','.join(pairs)}}} "


def _escaped(text: str, *, quote: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quote else text
