"""What a threshold is set on: an age, a share of time, a change. Each is read in process and rendered to PromQL alike.

Unlike a share of rows none of them is a sample, so none has an interval.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from sextant_plan.catalogue import COMMON_LABELS
from sextant_plan.types import DAY
from sextant_plan.window import Sample, Selector, Target, Window, promql_duration

Values = Mapping[Target, float]
"""A value by the labels that a quantity is told apart by."""


class Quantity(Protocol):
    """A number for each target; absent where nothing was seen."""

    @property
    def by(self) -> tuple[str, ...]:
        """The labels that tell its targets apart; their values make a `Target`."""

    def of(self, window: Window) -> Values:
        """Return the value of each target in a window."""

    def promql(self) -> str:
        """Return the same as an instant vector with the labels `by`."""


@dataclass(frozen=True)
class Level:
    """A gauge as it is; of several series of one target the lowest."""

    gauge: Selector
    by: tuple[str, ...] = COMMON_LABELS

    def of(self, window: Window) -> Values:
        """Return each target's lowest value."""
        return _reduced(window.select(self.gauge), self.by, min)

    def promql(self) -> str:
        """Return the lowest value by target."""
        return f"min by ({', '.join(self.by)}) ({self.gauge.promql()})"


@dataclass(frozen=True)
class Highest:
    """A gauge as it is; of several series of one target the highest."""

    gauge: Selector
    by: tuple[str, ...] = COMMON_LABELS

    def of(self, window: Window) -> Values:
        """Return each target's highest value."""
        return _reduced(window.select(self.gauge), self.by, max)

    def promql(self) -> str:
        """Return the highest value by target."""
        return f"max by ({', '.join(self.by)}) ({self.gauge.promql()})"


@dataclass(frozen=True)
class Age:
    """How long ago the oldest of a target's timestamps lies, in `unit` seconds."""

    timestamp: Selector
    unit: float
    by: tuple[str, ...] = COMMON_LABELS

    def of(self, window: Window) -> Values:
        """Return each target's age at the end of the window; none where that time is not known."""
        if window.end is None:
            return {}
        oldest = _reduced(window.select(self.timestamp), self.by, min)
        return {target: (window.end - stamp) / self.unit for target, stamp in oldest.items()}

    def promql(self) -> str:
        """Return the age by target."""
        return f"(time() - min by ({', '.join(self.by)}) ({self.timestamp.promql()})) / {self.unit:g}"


@dataclass(frozen=True)
class LostToAge:
    """What a day of age costs, times the days since the oldest of a target's timestamps; a cost not proved is none."""

    timestamp: Selector
    a_day: Selector
    lowest_a_day: Selector
    by: tuple[str, ...] = COMMON_LABELS

    def of(self, window: Window) -> Values:
        """Return each target's loss; none where its age or its cost is not known."""
        days = Age(self.timestamp, DAY, self.by).of(window)
        cost, lowest = (_reduced(window.select(each), self.by, max) for each in (self.a_day, self.lowest_a_day))
        return {
            target: age * cost[target] * (lowest[target] > 0)
            for target, age in days.items()
            if target in cost and target in lowest
        }

    def promql(self) -> str:
        """Return the loss by target."""
        cost, lowest = (f"max by ({', '.join(self.by)}) ({each.promql()})" for each in (self.a_day, self.lowest_a_day))
        return f"{Age(self.timestamp, DAY, self.by).promql()} * {cost} * ({lowest} > bool 0)"


@dataclass(frozen=True)
class Busy:
    """The mean of seconds counted in a second, over the servers of a target: the share of time at work."""

    seconds: Selector
    ready: Selector
    window: float
    by: tuple[str, ...] = COMMON_LABELS

    def of(self, window: Window) -> Values:
        """Return each target's share; none where the window's length is not known."""
        servers = _reduced(window.select(self.ready), self.by, sum)
        if window.seconds is None:
            return {}
        spent = _reduced(window.select(self.seconds), self.by, sum)
        return {
            target: total / window.seconds / servers[target]
            for target, total in spent.items()
            if servers.get(target, 0) > 0
        }

    def promql(self) -> str:
        """Return the share by target."""
        labels, window = ", ".join(self.by), promql_duration(self.window)
        spent = f"sum by ({labels}) (increase({self.seconds.promql()}[{window}]))"
        return f"{spent} / {self.window:g} / (sum by ({labels}) ({self.ready.promql()}) > 0)"


@dataclass(frozen=True)
class Change:
    """A count in the window against the mean of `before` windows before it, whichever is more over the other.

    Half an event is added to both, so that a window without any stays finite; nothing is told of fewer than
    `min_n` events in the larger of the two.
    """

    events: Selector
    window: float
    before: int
    min_n: int
    by: tuple[str, ...] = COMMON_LABELS

    @property
    def whole(self) -> float:
        """The seconds of the window and of those before it."""
        return self.window * (self.before + 1)

    def of(self, window: Window) -> Values:
        """Return each target's factor (>= 1); none unless all the windows before were watched."""
        long, short = window.over(self.whole), window.over(self.window)
        if long is None or short is None:
            return {}
        all_, now = (_reduced(each.select(self.events), self.by, sum) for each in (long, short))
        found = {}
        for target, total in all_.items():
            latest = now.get(target, 0.0)
            mean = (total - latest) / self.before
            if max(latest, mean) >= self.min_n:
                found[target] = max((latest + 0.5) / (mean + 0.5), (mean + 0.5) / (latest + 0.5))
        return found

    def promql(self) -> str:
        """Return the factor by target; a target that was not there all along has none."""
        labels = ", ".join(self.by)

        def count(seconds: float) -> str:
            return f"sum by ({labels}) (increase({self.events.promql()}[{promql_duration(seconds)}]))"

        latest, mean = f"({count(self.window)})", f"(({count(self.whole)} - {count(self.window)}) / {self.before})"
        up = f"(({latest} + 0.5) / ({mean} + 0.5))"
        old = f"(sum by ({labels}) ({self.events.promql()} offset {promql_duration(self.whole)}) >= 0)"
        enough = f"({latest} >= {self.min_n} or {mean} >= {self.min_n})"
        return f"({up} >= 1 or 1 / {up}) and {enough} and {old}"


@dataclass(frozen=True)
class UsedShare:
    """Used over the whole, where the whole is `total`, or what is used and what is `free` together."""

    used: Selector
    total: Selector | None
    free: Selector | None
    by: tuple[str, ...]

    def of(self, window: Window) -> Values:
        """Return the share by target; none without a positive whole."""
        used = _reduced(window.select(self.used), self.by, sum)
        whole = _reduced(window.select(self.total), self.by, sum) if self.total else {}
        if self.free is not None:
            free = _reduced(window.select(self.free), self.by, sum)
            whole = {target: value + free[target] for target, value in used.items() if target in free}
        return {target: value / whole[target] for target, value in used.items() if whole.get(target, 0) > 0}

    def promql(self) -> str:
        """Return the share by target."""
        labels = ", ".join(self.by)
        used = f"sum by ({labels}) ({self.used.promql()})"
        if self.free is not None:
            return f"{used} / (({used} + sum by ({labels}) ({self.free.promql()})) > 0)"
        assert self.total is not None
        return f"{used} / (sum by ({labels}) ({self.total.promql()}) > 0)"


def _reduced(
    samples: Iterable[Sample], by: tuple[str, ...], reduce: Callable[[list[float]], float]
) -> dict[Target, float]:
    grouped: dict[Target, list[float]] = {}
    for sample in samples:
        grouped.setdefault(tuple(sample.labels.get(label, "") for label in by), []).append(sample.value)
    return {target: float(reduce(values)) for target, values in grouped.items()}
