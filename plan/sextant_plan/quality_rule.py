"""The rule on quality by delayed labels, as `sextant watch --export` shows it: criteria that counters cannot tell.

Those are criteria on a slice, and errors of numbers. The exporter joins labels and predictions and shows the value with
the bounds that the metric's gate has, the rows behind it, and the share of due predictions that have a label. Below the
plan's `labels.join_at_least` the labelled rows may be a biased choice, and the verdict is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass

from sextant_plan.alerts import (
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
from sextant_plan.catalogue import Series
from sextant_plan.catalogue.watching import LABEL_JOIN, QUALITY, QUALITY_ERROR, QUALITY_ROWS
from sextant_plan.schema import Criterion
from sextant_plan.verdicts import Estimate, Verdict, judge
from sextant_plan.window import Selector, Target, Window, promql_duration, recorded


def series_of(criterion: Criterion) -> Series:
    """Return the series that shows a criterion's quality by joined labels."""
    return QUALITY_ERROR if criterion.definition.unit == "label unit" else QUALITY


@dataclass(frozen=True)
class QualityRule(AlertsByVerdict):
    """A criterion on joined labels: a share by `at_least`, an error in the label's unit by `at_most`."""

    criterion: Criterion
    kind: AlertKind | None
    model: str
    min_n: int
    join_at_least: float
    window: float
    hold: float
    labels: dict[str, str]

    @property
    def requirement(self) -> str:
        """The requirement as one clause."""
        return self.criterion.requirement

    @property
    def limit(self) -> float:
        """The limit on the quality."""
        return self.criterion.limit

    @property
    def series(self) -> Series:
        """The series that shows the value."""
        return series_of(self.criterion)

    def recordings(self) -> list[Recording]:
        """Return the value, its rows, and the verdict as -1, 0 or 1."""
        low, high = (self._exported(bound) for bound in ("low", "high"))
        rows = recorded(CRITERION_ROWS, self.labels)
        limit = repr(self.limit)
        good, bad = f"{low} >= bool {limit}", f"{high} < bool {limit}"
        if self.criterion.at_most is not None:
            good, bad = f"{high} <= bool {limit}", f"{low} > bool {limit}"
        joined = f"max by ({TARGET}) ({self._join.promql()}) >= bool {self.join_at_least!r}"
        verdict = (
            f"(({good}) * on ({TARGET}) ({rows} >= bool {self.min_n})"
            f" - on ({TARGET}) ({bad})) * on ({TARGET}) ({joined})"
        )
        return [
            Recording(CRITERION_VALUE, self._exported("value"), self.labels),
            Recording(CRITERION_ROWS, f"max by ({TARGET}) ({self._rows.promql()})", self.labels),
            Recording(CRITERION_VERDICT, verdict, self.labels),
        ]

    def alerts(self) -> list[Alert]:
        """Return the alert that fires on proof of a violation; none where the criterion asks for none."""
        if self.kind is None:
            return []
        shown = "humanizePercentage" if self.series is QUALITY else "humanize"
        return [
            Alert(
                self.kind,
                proved_violation(self.labels),
                self.hold,
                Severity.WARNING,
                f"{self.model}: {self.criterion.id} is violated",
                f"The plan asks for {self.requirement}. Variant {{{{ $labels.variant }}}} of version "
                f"{{{{ $labels.version }}}} has {{{{ $value | {shown} }}}} by the labels of "
                f"{promql_duration(self.window)}, beyond the limit with {self.criterion.confidence:.6g} confidence.",
                self.labels,
            )
        ]

    def read(self, window: Window) -> list[Reading]:
        """Return a reading for each target that the exporter shows."""
        values = {sample.target for sample in window.select(self._quality("value"))}
        return [self._reading(window, target) for target in sorted(values)]

    def _reading(self, window: Window, target: Target) -> Reading:
        bounds = {bound: _one(window, self._quality(bound), target) for bound in ("value", "low", "high")}
        rows, join = _one(window, self._rows, target), _one(window, self._join, target)
        value, low, high = bounds["value"], bounds["low"], bounds["high"]
        if value is None or low is None or high is None or rows is None:
            return Reading(target, Verdict.UNKNOWN)
        estimate = Estimate(value, low, high, int(rows), self.criterion.confidence)
        if join is None or join < self.join_at_least:
            return Reading(target, Verdict.UNKNOWN, estimate)
        sides = {"at_least": self.criterion.at_least, "at_most": self.criterion.at_most}
        return Reading(target, judge(estimate, **sides, min_n=self.min_n), estimate)

    def _quality(self, bound: str) -> Selector:
        return Selector.of(self.series.name, model=self.model, criterion=self.criterion.id, bound=bound)

    def _exported(self, bound: str) -> str:
        return f"max by ({TARGET}) ({self._quality(bound).promql()})"

    @property
    def _rows(self) -> Selector:
        return Selector.of(QUALITY_ROWS.name, model=self.model, criterion=self.criterion.id)

    @property
    def _join(self) -> Selector:
        return Selector.of(LABEL_JOIN.name, model=self.model)


def _one(window: Window, selector: Selector, target: Target) -> float | None:
    found = [sample.value for sample in window.select(selector) if sample.target == target]
    return max(found, default=None)
