"""The page that Prometheus reads: written line by line, since a scrape must not hold up the requests.

The lines of a model are made once, when it is shown, and only their values read anew. Those of several processes that
serve the same models are added up, so that it does not matter which of them is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson

from sextant_plan import catalogue
from sextant_plan.catalogue import COMMON_LABELS, KSERVE, Series
from sextant_serving.metrics import Histogram, ModelMetrics, Samples

# By series: what each line says before its value, and the values.
State = dict[str, tuple[list[str], list[float]]]

SERIES = catalogue.SERIES | KSERVE
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
        stages = {metrics.labels[0]: metrics.stages for metrics in self.served}
        for metrics in served:
            metrics.stages = stages.setdefault(metrics.labels[0], metrics.stages)
        self._models = [*(before for before in self.served if before.labels not in labels), *served]
        self.served = list(served)
        self._starts = {id(model): self._starts.get(id(model), {}) for model in self._models}
        self.state()  # makes the lines, which the first scrape would wait for

    def state(self) -> State:
        """Return every line's start and value."""
        found: State = {}
        by_name = {model.labels[0]: model for model in self._models}
        for model in self._models:
            for samples in model.samples():
                starts, values = found.setdefault(samples.series.name, ([], []))
                starts += self._starts_of(model, samples)
                values += samples.values
            stages = model.stages.histograms() if by_name[model.labels[0]] is model else ()
            for histogram in (*model.histograms(), *stages):
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


class StateReader:
    """Reads what other processes count; lines that start as those read before are not read again."""

    def __init__(self) -> None:
        self._packed, self._starts = b"", dict[str, list[str]]()

    def read(self, packed: bytes) -> State:
        """Return the state that `pack` has written."""
        starts, _, values = packed.partition(b"\n")
        if starts != self._packed:
            self._packed, self._starts = starts, orjson.loads(starts)
        return {name: (self._starts[name], found) for name, found in orjson.loads(values).items()}


def pack(state: State) -> bytes:
    """Return a state as two lines of JSON: by series how each line starts, and the values."""
    starts, values = ({name: lines[part] for name, lines in state.items()} for part in (0, 1))
    return orjson.dumps(starts) + b"\n" + orjson.dumps(values)


def merge(states: Sequence[State]) -> State:
    """Add up what several processes count; of a gauge the largest is shown, and ready is what is ready in each."""
    merged: State = {}
    for name in dict.fromkeys(name for state in states for name in state):
        found = [state[name] for state in states if name in state]
        join, starts = _join(SERIES[name]), found[0][0]
        if all(others == starts for others, _ in found):
            merged[name] = starts, list(map(join, zip(*(values for _, values in found), strict=True)))
            continue
        lines: dict[str, list[float]] = {}
        for starts, values in found:
            for start, value in zip(starts, values, strict=True):
                lines.setdefault(start, []).append(value)
        merged[name] = list(lines), list(map(join, lines.values()))
    return merged


def _join(series: Series) -> Callable[[Iterable[float]], float]:
    if series is catalogue.READY:
        return min
    return max if series.type == "gauge" else sum


def render(state: Mapping[str, tuple[Sequence[str], Sequence[float]]]) -> bytes:
    """Return the page in the Prometheus text format, version 0.0.4."""
    parts = []
    for name, (starts, values) in state.items():
        series = SERIES[name]
        parts.append(f"# HELP {name} {_escaped(series.help)}\n# TYPE {name} {series.type}\n")
        parts.extend([f"{start}{float(value)!r}\n" for start, value in zip(starts, values, strict=True)])
    return "".join(parts).encode()


def _sample_starts(samples: Samples, model: ModelMetrics) -> list[str]:
    line = _line(samples.series.name, dict(zip(COMMON_LABELS, model.labels, strict=True)), samples.series.labels)
    return [line.format(*map(_quotable, key)) for key in samples.keys]


def _histogram_starts(histogram: Histogram, model: ModelMetrics) -> list[str]:
    series = histogram.series
    labels = dict(zip(series.labels if series.name in KSERVE else COMMON_LABELS, model.labels, strict=False))
    bucket = _line(f"{series.name}_bucket", labels, ("le",))
    return [
        *map(bucket.format, histogram.keys),
        *(_line(f"{series.name}_{part}", labels).format() for part in ("count", "sum")),
    ]


def _line(name: str, labels: Mapping[str, str], more: Sequence[str] = ()) -> str:
    """Return how a line starts, as a format for the values of the labels `more`; by label, as Prometheus sorts them."""
    known = {label: _quotable(value).replace("{", "{{").replace("}", "}}") for label, value in labels.items()}
    open_places = {label: f"{{{place}}}" for place, label in enumerate(more)}
    pairs = [f'{label}="{value}"' for label, value in sorted((known | open_places).items())]
    return f"{name}{{{{{','.join(pairs)}}}}} "


@lru_cache(maxsize=4096)
def _quotable(value: str) -> str:
    return _escaped(value).replace('"', '\\"')


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")
