"""The rule on prediction bias: each class' share of the answers against its share of the truth.

The truth is in the labels, as `sextant watch --export` joins them. Until a due window has enough of them the training
rows stand in: what is answered now is held against what was true then (docs/adr/0031). A class is biased when the lower
bound of the difference passes the limit, and the answers are unbiased when no class' upper bound does. The confidence
is shared out over the classes that the plan lists (Bonferroni). By labels the bounds are normal ones on the exporter's
error; by training they are those of Agresti and Coull (1998): a class without an answer in the window has a share whose
own error would be 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from sextant_plan.alerts import (
    BIAS_HIGH,
    BIAS_LOW,
    BIAS_SIZE,
    CRITERION_ROWS,
    CRITERION_VALUE,
    CRITERION_VERDICT,
    PREDICTION_BIN_ROWS,
    TARGET,
    Alert,
    AlertKind,
    AlertsByVerdict,
    Reading,
    Recording,
    Severity,
    proved_violation,
)
from sextant_plan.catalogue import FEATURE_BINS, PREDICTED_CLASS, REFERENCE_RATIO
from sextant_plan.catalogue.watching import LABELLED_ROWS, PREDICTION_BIAS, PREDICTION_BIAS_ERROR
from sextant_plan.schema import Criterion
from sextant_plan.statistics.multiplicity import shared_out
from sextant_plan.verdicts import Estimate, Verdict
from sextant_plan.window import Sample, Selector, Target, Window, promql_duration, recorded

LABELS, TRAINING = {"source": "labels"}, {"source": "training"}


@dataclass(frozen=True)
class Difference:
    """The size of one class' difference, in shares of the answers, with its one-sided bounds."""

    size: float
    low: float
    high: float


@dataclass(frozen=True)
class BiasRule(AlertsByVerdict):
    """A criterion on the largest bias of any class; `min_n` rows make a window, which is `window` seconds long."""

    criterion: Criterion
    kind: AlertKind | None
    model: str
    classes: int
    min_n: int
    window: float
    hold: float
    labels: dict[str, str]

    @property
    def requirement(self) -> str:
        """The requirement as one clause."""
        return f"a bias of at most {100 * self.criterion.limit:.6g} % of the answers for every class"

    @property
    def z(self) -> float:
        """How many standard errors make one side."""
        return shared_out(self.criterion.confidence, self.classes)

    def recordings(self) -> list[Recording]:
        """Return each class' difference and its bounds, by labels and by training, then value, rows and verdict."""
        return [*self._of_labels(), *self._of_training(), *self._of_criterion()]

    def alerts(self) -> list[Alert]:
        """Return the alert that fires on proof of a bias; none where the criterion asks for none."""
        if self.kind is None:
            return []
        return [
            Alert(
                self.kind,
                proved_violation(self.labels),
                self.hold,
                Severity.WARNING,
                f"{self.model}: a class is answered too often or too seldom",
                f"The plan asks for {self.requirement} ({self.criterion.id}). Variant {{{{ $labels.variant }}}} of "
                "version {{ $labels.version }} has one of {{ $value | humanizePercentage }} over "
                f"{promql_duration(self.window)}, by the labels, or by the training rows while labels are too few.",
                self.labels,
            )
        ]

    def read(self, window: Window) -> list[Reading]:
        """Return a reading for each target that has answered."""
        readings = []
        for target in window.targets(self.model):
            differences, rows = self._by_labels(window, target)
            if rows < self.min_n:
                differences, rows = self._by_training(window, target)
            if differences:
                readings.append(self._reading(target, differences, rows))
        return readings

    def _reading(self, target: Target, differences: list[Difference], rows: float) -> Reading:
        value = max(each.size for each in differences)
        low, high = max(each.low for each in differences), max(each.high for each in differences)
        estimate = Estimate(value, low, high, int(rows), self.criterion.confidence)
        if rows < self.min_n:
            return Reading(target, Verdict.UNKNOWN, estimate)
        if low > self.criterion.limit:
            return Reading(target, Verdict.FAIL, estimate)
        return Reading(target, Verdict.PASS if high <= self.criterion.limit else Verdict.UNKNOWN, estimate)

    def _by_labels(self, window: Window, target: Target) -> tuple[list[Difference], float]:
        rows = max(_of(window.select(self._labelled), target, "").values(), default=0.0)
        bias, error = (
            _of(window.select(self._exported(series.name)), target, "class")
            for series in (PREDICTION_BIAS, PREDICTION_BIAS_ERROR)
        )
        found = ((abs(value), self.z * error[name]) for name, value in bias.items() if name in error)
        return [Difference(size, size - side, size + side) for size, side in found], rows

    def _by_training(self, window: Window, target: Target) -> tuple[list[Difference], float]:
        shares = _of(window.select(self._predicted(REFERENCE_RATIO.name)), target, "bin")
        counts = _of(window.select(self._predicted(FEATURE_BINS.name)), target, "bin")
        rows = sum(counts.get(bin_, 0.0) for bin_ in shares)
        if rows == 0:
            return [], 0.0
        return [self._from_share(counts.get(bin_, 0.0), rows, share) for bin_, share in shares.items()], rows

    def _from_share(self, count: float, rows: float, share: float) -> Difference:
        """Return how far a class with so many of the rows is from its share of the training rows."""
        weighted = rows + self.z**2
        likely = (count + self.z**2 / 2) / weighted
        size, side = abs(likely - share), self.z * math.sqrt(likely * (1 - likely) / weighted)
        return Difference(abs(count / rows - share), size - side, size + side)

    def _of_labels(self) -> list[Recording]:
        bias, error = (
            f"max by ({TARGET}, class) ({self._exported(series.name).promql()})"
            for series in (PREDICTION_BIAS, PREDICTION_BIAS_ERROR)
        )
        size, side = f"abs({bias})", f"{self.z!r} * {error}"
        return [
            Recording(series, f"({found}) and on ({TARGET}) {self._enough_labels}", {**self.labels, **LABELS})
            for series, found in _recorded_bounds(size, size, side)
        ]

    def _of_training(self) -> list[Recording]:
        shares = f"max by ({TARGET}, bin) ({self._predicted(REFERENCE_RATIO.name).promql()})"
        increase = f"increase({self._predicted(FEATURE_BINS.name).promql()}[{promql_duration(self.window)}])"
        counted = recorded(PREDICTION_BIN_ROWS, self.labels)
        count, total = f"sum by ({TARGET}, bin) ({counted})", f"(sum by ({TARGET}) ({counted}) > 0)"
        per_row, weighted = f"/ on ({TARGET}) group_left ()", f"({total} + {self.z**2!r})"
        likely = f"(({count} + {self.z**2 / 2!r}) {per_row} {weighted})"
        side = f"{self.z!r} * sqrt({likely} * (1 - {likely}) {per_row} {weighted})"
        rows = f"(sum by ({TARGET}, bin) ({increase}) and {shares}) or 0 * {shares}"
        bounds = _recorded_bounds(f"abs({count} {per_row} {total} - {shares})", f"abs({likely} - {shares})", side)
        return [
            Recording(PREDICTION_BIN_ROWS, rows, self.labels),
            *(Recording(series, found, {**self.labels, **TRAINING}) for series, found in bounds),
        ]

    def _of_criterion(self) -> list[Recording]:
        def largest(series: str) -> str:
            found = (
                f"max by ({TARGET}) ({recorded(series, {**self.labels, **source})})" for source in (LABELS, TRAINING)
            )
            return f"({' or '.join(found)})"

        counted, rows = recorded(PREDICTION_BIN_ROWS, self.labels), recorded(CRITERION_ROWS, self.labels)
        limit = repr(self.criterion.limit)
        verdict = (
            f"(({largest(BIAS_HIGH)} <= bool {limit}) - ({largest(BIAS_LOW)} > bool {limit}))"
            f" * on ({TARGET}) ({rows} >= bool {self.min_n})"
        )
        return [
            Recording(CRITERION_VALUE, largest(BIAS_SIZE), self.labels),
            Recording(CRITERION_ROWS, f"{self._enough_labels} or sum by ({TARGET}) ({counted})", self.labels),
            Recording(CRITERION_VERDICT, verdict, self.labels),
        ]

    @property
    def _enough_labels(self) -> str:
        """The PromQL of the labelled rows of each target that has enough of them."""
        return f"(max by ({TARGET}) ({self._labelled.promql()}) >= {self.min_n})"

    def _predicted(self, series: str) -> Selector:
        return Selector.of(series, model=self.model, feature=PREDICTED_CLASS)

    def _exported(self, series: str) -> Selector:
        return Selector.of(series, model=self.model)

    @property
    def _labelled(self) -> Selector:
        return Selector.of(LABELLED_ROWS.name, model=self.model)


def _recorded_bounds(size: str, middle: str, side: str) -> list[tuple[str, str]]:
    """Return what is recorded of each class' difference: its size, and `side` below and above the bounds' middle."""
    return [(BIAS_SIZE, size), (BIAS_LOW, f"{middle} - {side}"), (BIAS_HIGH, f"{middle} + {side}")]


def _of(samples: Iterable[Sample], target: Target, label: str) -> dict[str, float]:
    """Return a target's values by one label."""
    return {sample.labels.get(label, ""): sample.value for sample in samples if sample.target == target}
