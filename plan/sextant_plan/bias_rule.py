"""The rule on prediction bias: each class' share of the answers against its share of the truth.

The truth is in the labels, as `sextant watch --export` joins them. Until a due window has enough of them the training
rows stand in: what is answered now is held against what was true then (docs/adr/0031). A class is biased when the lower
bound of the difference passes the limit, and the answers are unbiased when no class' upper bound does. The bounds are
normal ones, the confidence shared out over the classes that the plan lists (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from sextant_plan.alerts import (
    BIAS_ERROR,
    BIAS_SIZE,
    CRITERION_ROWS,
    CRITERION_VALUE,
    CRITERION_VERDICT,
    PREDICTION_BIN_ROWS,
    TARGET,
    Alert,
    AlertKind,
    Reading,
    Recording,
    Severity,
    proved_violation,
)
from sextant_plan.catalogue import (
    FEATURE_BINS,
    LABELLED_ROWS,
    PREDICTED_CLASS,
    PREDICTION_BIAS,
    PREDICTION_BIAS_ERROR,
    REFERENCE_RATIO,
)
from sextant_plan.schema import Criterion
from sextant_plan.statistics.multiplicity import shared_out
from sextant_plan.verdicts import Estimate, Verdict
from sextant_plan.window import Sample, Selector, Target, Window, promql_duration, recorded

LABELS, TRAINING = {"source": "labels"}, {"source": "training"}
Differences = list[tuple[float, float]]
"""The size of each class' difference, with its standard error."""


@dataclass(frozen=True)
class BiasRule:
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
        """Return each class' difference and its error, by labels and by training, then value, rows and verdict."""
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

    def _reading(self, target: Target, differences: Differences, rows: float) -> Reading:
        low, high = (max(size + side * self.z * error for size, error in differences) for side in (-1, 1))
        value = max(size for size, _ in differences)
        estimate = Estimate(value, low, high, int(rows), self.criterion.confidence)
        if rows < self.min_n:
            return Reading(target, Verdict.UNKNOWN, estimate)
        if low > self.criterion.limit:
            return Reading(target, Verdict.FAIL, estimate)
        return Reading(target, Verdict.PASS if high <= self.criterion.limit else Verdict.UNKNOWN, estimate)

    def _by_labels(self, window: Window, target: Target) -> tuple[Differences, float]:
        rows = max(_of(window.select(self._labelled), target, "").values(), default=0.0)
        bias, error = (
            _of(window.select(self._exported(series.name)), target, "class")
            for series in (PREDICTION_BIAS, PREDICTION_BIAS_ERROR)
        )
        return [(abs(value), error[name]) for name, value in bias.items() if name in error], rows

    def _by_training(self, window: Window, target: Target) -> tuple[Differences, float]:
        shares = _of(window.select(self._predicted(REFERENCE_RATIO.name)), target, "bin")
        counts = _of(window.select(self._predicted(FEATURE_BINS.name)), target, "bin")
        rows = sum(counts.get(bin_, 0.0) for bin_ in shares)
        if rows == 0:
            return [], 0.0
        live = {bin_: counts.get(bin_, 0.0) / rows for bin_ in shares}
        return [(abs(q - shares[bin_]), math.sqrt(q * (1 - q) / rows)) for bin_, q in live.items()], rows

    def _of_labels(self) -> list[Recording]:
        bias, error = (
            f"max by ({TARGET}, class) ({self._exported(series.name).promql()})"
            for series in (PREDICTION_BIAS, PREDICTION_BIAS_ERROR)
        )
        by_labels = {**self.labels, **LABELS}
        return [
            Recording(BIAS_SIZE, f"abs({bias}) and on ({TARGET}) {self._enough_labels}", by_labels),
            Recording(BIAS_ERROR, f"{error} and on ({TARGET}) {self._enough_labels}", by_labels),
        ]

    def _of_training(self) -> list[Recording]:
        shares = f"max by ({TARGET}, bin) ({self._predicted(REFERENCE_RATIO.name).promql()})"
        increase = f"increase({self._predicted(FEATURE_BINS.name).promql()}[{promql_duration(self.window)}])"
        counted = recorded(PREDICTION_BIN_ROWS, self.labels)
        total = f"(sum by ({TARGET}) ({counted}) > 0)"
        live = f"(sum by ({TARGET}, bin) ({counted}) / on ({TARGET}) group_left () {total})"
        by_training = {**self.labels, **TRAINING}
        rows = f"(sum by ({TARGET}, bin) ({increase}) and {shares}) or 0 * {shares}"
        return [
            Recording(PREDICTION_BIN_ROWS, rows, self.labels),
            Recording(BIAS_SIZE, f"abs({live} - {shares})", by_training),
            Recording(BIAS_ERROR, f"sqrt({live} * (1 - {live}) / on ({TARGET}) group_left () {total})", by_training),
        ]

    def _of_criterion(self) -> list[Recording]:
        def largest(errors: float) -> str:
            sizes = (
                f"max by ({TARGET}) ({recorded(BIAS_SIZE, {**self.labels, **source})}"
                f" + {errors!r} * {recorded(BIAS_ERROR, {**self.labels, **source})})"
                for source in (LABELS, TRAINING)
            )
            return f"({' or '.join(sizes)})"

        counted, rows = recorded(PREDICTION_BIN_ROWS, self.labels), recorded(CRITERION_ROWS, self.labels)
        limit = repr(self.criterion.limit)
        verdict = (
            f"(({largest(self.z)} <= bool {limit}) - ({largest(-self.z)} > bool {limit}))"
            f" * on ({TARGET}) ({rows} >= bool {self.min_n})"
        )
        return [
            Recording(CRITERION_VALUE, largest(0.0), self.labels),
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


def _of(samples: Iterable[Sample], target: Target, label: str) -> dict[str, float]:
    """Return a target's values by one label."""
    return {sample.labels.get(label, ""): sample.value for sample in samples if sample.target == target}
