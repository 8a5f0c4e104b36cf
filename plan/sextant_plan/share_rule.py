"""The rule on a share: of requests over a latency, answered with an error, of rows the model answers itself.

The bound is the Chernoff bound in its Kullback-Leibler form (Hoeffding 1963, theorem 1): a share p is refuted by
x events in n when n * KL(x/n, p) > ln(1 / (1 - confidence)). It holds at every n, never rejects a true share more
often than stated, and is closed form, so that PromQL and this module compute the same verdict. It is wider than
the gates' Clopper-Pearson bound except at x = 0 and x = n, where the two are equal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sextant_plan.alerts import (
    CRITERION_EVENTS,
    CRITERION_EVIDENCE,
    CRITERION_ROWS,
    CRITERION_VALUE,
    CRITERION_VERDICT,
    TARGET,
    Alert,
    AlertKind,
    AlertsByVerdict,
    Reading,
    Recording,
    Severity,
    proved_violation,
)
from sextant_plan.bounds import boundary
from sextant_plan.catalogue import READY
from sextant_plan.schema import Criterion
from sextant_plan.verdicts import Estimate, Verdict, judge
from sextant_plan.window import Selector, Target, Window, promql_duration, recorded

TINY = 1e-12  # keeps 0 * ln 0 finite in PromQL, where it would be NaN


def chernoff(events: float, rows: float, confidence: float) -> Estimate:
    """Return a share with its one-sided Chernoff bounds; `rows` is positive and at least `events`."""
    share = events / rows
    needed = math.log(1 / (1 - confidence))

    def is_refuted(other: float) -> bool:
        return rows * _divergence(share, other) > needed

    low = boundary(share, 0.0, is_refuted) if events > 0 else 0.0
    high = boundary(share, 1.0, is_refuted) if events < rows else 1.0
    return Estimate(share, low, high, int(rows), confidence)


def _divergence(share: float, other: float) -> float:
    """Return the Kullback-Leibler divergence of two coins, in nats; infinite where `other` excludes `share`."""
    total = 0.0
    for p, q in ((share, other), (1 - share, 1 - other)):
        if p > 0:
            total += p * math.log(p / q) if q > 0 else math.inf
    return total


@dataclass(frozen=True)
class Term:
    """A counter that is added, or with sign -1 taken off."""

    selector: Selector
    sign: int = 1


@dataclass(frozen=True)
class Count:
    """What is counted: the sum of the terms' increments."""

    terms: tuple[Term, ...]

    def of(self, window: Window, target: Target) -> float | None:
        """Return the count of one target: an added counter that never appeared counts 0.

        None where a counter to be taken off is absent, as a histogram's edge that the server does not have:
        what it would take off is unknown.
        """
        total = 0.0
        for term in self.terms:
            found = [sample.value for sample in window.select(term.selector) if sample.target == target]
            if not found and term.sign < 0:
                return None
            total += term.sign * sum(found)
        return total

    def promql(self, window: float, ready: Selector) -> str:
        """Return the count by target over `window` seconds, absent where `of` would be None."""
        zero = f"0 * max by ({TARGET}) ({ready.promql()})"
        text = ""
        for term in self.terms:
            increase = f"sum by ({TARGET}) (increase({term.selector.promql()}[{promql_duration(window)}]))"
            text += f" - {increase}" if term.sign < 0 else f" + ({increase} or {zero})"
        return text.removeprefix(" + ")


@dataclass(frozen=True)
class ShareRule(AlertsByVerdict):
    """A criterion on events / rows; `at_least` or `at_most` limits the share, `window` is in seconds."""

    criterion: Criterion
    kind: AlertKind | None
    severity: Severity
    what: str
    model: str
    events: Count
    rows: Count
    at_least: float | None
    at_most: float | None
    min_n: int
    window: float
    hold: float
    labels: dict[str, str]

    @property
    def limit(self) -> float:
        """The limit on the share."""
        limit = self.at_least if self.at_least is not None else self.at_most
        assert limit is not None
        return limit

    @property
    def requirement(self) -> str:
        """The requirement as one clause."""
        direction = "at least" if self.at_least is not None else "at most"
        return f"{direction} {100 * self.limit:.6g} % of {self.what}"

    def recordings(self) -> list[Recording]:
        """Return events, rows, share, evidence in nats and the verdict as -1, 0 or 1."""
        ready = Selector.of(READY.name, model=self.model)
        events, rows, value, evidence = (
            recorded(name, self.labels)
            for name in (CRITERION_EVENTS, CRITERION_ROWS, CRITERION_VALUE, CRITERION_EVIDENCE)
        )
        limit, rest = repr(self.limit), repr(1 - self.limit)
        divergence = (
            f"{events} * ln(clamp_min({value}, {TINY}) / {limit})"
            f" + ({rows} - {events}) * ln(clamp_min(1 - {value}, {TINY}) / {rest})"
        )
        good, bad = (">=", "<") if self.at_least is not None else ("<=", ">")
        verdict = (
            f"({evidence} > bool {math.log(1 / (1 - self.criterion.confidence))!r})"
            f" * (({value} {good} bool {limit}) * ({rows} >= bool {self.min_n}) - ({value} {bad} bool {limit}))"
        )
        return [
            Recording(CRITERION_EVENTS, self.events.promql(self.window, ready), self.labels),
            Recording(CRITERION_ROWS, self.rows.promql(self.window, ready), self.labels),
            Recording(CRITERION_VALUE, f"{events} / {rows}", self.labels),
            Recording(CRITERION_EVIDENCE, divergence, self.labels),
            Recording(CRITERION_VERDICT, verdict, self.labels),
        ]

    def alerts(self) -> list[Alert]:
        """Return the alert that fires on proof of a violation; none where the criterion asks for none."""
        if self.kind is None:
            return []
        return [
            Alert(
                self.kind,
                proved_violation(self.labels),
                self.hold,
                self.severity,
                f"{self.model}: {self.criterion.id} is violated",
                f"The plan asks for {self.requirement}. Variant {{{{ $labels.variant }}}} of version "
                "{{ $labels.version }} has {{ $value | humanizePercentage }} over the last "
                f"{promql_duration(self.window)}, beyond the limit with {self.criterion.confidence:.6g} confidence.",
                self.labels,
            )
        ]

    def read(self, window: Window) -> list[Reading]:
        """Return a reading for each target; counts that contradict each other are unknown."""
        readings = []
        for target in window.targets(self.model):
            events, rows = self.events.of(window, target), self.rows.of(window, target)
            estimate = None
            if events is not None and rows is not None and 0 <= events <= rows and rows > 0:
                estimate = chernoff(events, rows, self.criterion.confidence)
            verdict = judge(estimate, at_least=self.at_least, at_most=self.at_most, min_n=self.min_n)
            readings.append(Reading(target, verdict, estimate))
        return readings

    def rows_to_prove(self) -> int:
        """Return the fewest rows, none of them bad, that prove the requirement."""
        allowed = 1 - self.at_least if self.at_least is not None else self.limit
        needed = math.log(1 / (1 - self.criterion.confidence))
        clean = math.ceil(needed / -math.log1p(-allowed)) if 0 < allowed < 1 else 1
        return max(self.min_n, clean)


def worst_reading(readings: list[Reading]) -> Reading | None:
    """Return the reading that decides: a failed one, else an unknown one, else any; None if there is none."""
    order = (Verdict.FAIL, Verdict.UNKNOWN, Verdict.PASS)
    return min(readings, key=lambda reading: order.index(reading.verdict), default=None)
