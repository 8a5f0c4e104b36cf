"""What a server counted over a window of time, and how a rule picks from it: in process and in PromQL alike."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sextant_plan.catalogue import COMMON_LABELS, READY

Target = tuple[str, ...]
"""The values of the catalogue's common labels: one model version in one variant."""


@dataclass(frozen=True)
class Sample:
    """One series: over a window a counter's increment, or a gauge's last value."""

    name: str
    labels: Mapping[str, str]
    value: float

    @property
    def target(self) -> Target:
        """The target that the series belongs to; a label it lacks is empty."""
        return tuple(self.labels.get(label, "") for label in COMMON_LABELS)


@dataclass(frozen=True)
class Window:
    """Every series of one window.

    `end` is the Unix time of its last scrape and `seconds` its length, where they are known; `others` holds windows
    of other lengths with the same end, by their seconds.
    """

    samples: tuple[Sample, ...]
    end: float | None = None
    seconds: float | None = None
    others: Mapping[float, Window] = field(default_factory=dict)

    def over(self, seconds: float) -> Window | None:
        """Return the window of another length that ends with this one; None if it was not watched that long."""
        return self if seconds == self.seconds else self.others.get(seconds)

    def select(self, selector: Selector) -> list[Sample]:
        """Return the series that the selector names."""
        return [sample for sample in self.samples if selector.matches(sample)]

    def targets(self, model: str) -> list[Target]:
        """Return the targets of a model, known by their readiness gauge, in order."""
        return sorted({sample.target for sample in self.select(Selector.of(READY.name, model=model))})


@dataclass(frozen=True)
class Matcher:
    """A label and what it must be, or with `negated` must not be; with `regex`, a pattern for the whole value."""

    label: str
    value: str
    regex: bool = False
    negated: bool = False

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Tell whether the labels satisfy the matcher."""
        found = labels.get(self.label, "")
        same = re.fullmatch(self.value, found) is not None if self.regex else found == self.value
        return same is not self.negated

    def promql(self) -> str:
        """Return the matcher as it stands between braces."""
        escaped = self.value.replace("\\", "\\\\").replace('"', '\\"')
        sign = ("!~" if self.regex else "!=") if self.negated else ("=~" if self.regex else "=")
        return f'{self.label}{sign}"{escaped}"'


@dataclass(frozen=True)
class Selector:
    """One series name and the labels wanted of it."""

    series: str
    matchers: tuple[Matcher, ...] = ()

    @classmethod
    def of(cls, series: str, **labels: str) -> Selector:
        """Return the selector of a series by equal labels."""
        return cls(series, tuple(Matcher(label, value) for label, value in labels.items()))

    def where(self, *matchers: Matcher) -> Selector:
        """Return a narrower selector."""
        return Selector(self.series, self.matchers + matchers)

    def matches(self, sample: Sample) -> bool:
        """Tell whether a series is one of those meant."""
        return sample.name == self.series and all(matcher.holds(sample.labels) for matcher in self.matchers)

    def promql(self) -> str:
        """Return the selector as an instant vector."""
        return f"{self.series}{{{','.join(matcher.promql() for matcher in self.matchers)}}}"


def bucket_edge(seconds: float) -> Matcher:
    """Return the matcher of a histogram's exact edge.

    A whole number is written `1` by some exporters and `1.0` by others; Prometheus 3 keeps only the latter.
    """
    if seconds == int(seconds):
        return Matcher("le", rf"{int(seconds)}(\.0)?", regex=True)
    return Matcher("le", repr(seconds))


def promql_duration(seconds: float) -> str:
    """Return a duration as PromQL writes it, in the largest unit that keeps it whole; at least 1 ms."""
    milliseconds = max(1, round(seconds * 1000))
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"


def recorded(series: str, labels: Mapping[str, str]) -> str:
    """Return the PromQL of a recorded series with a rule's labels."""
    return Selector.of(series, **labels).promql()
