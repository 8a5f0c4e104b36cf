"""The rule on drift: the population stability index of every profiled feature, with its bounds and its significance.

Against the training shares p, scaled to the n rows seen so that an expected count is e = n p, half a row is added
to every bin. The index is corrected by its expectation without a shift, (bins - 1) / n (Yurdakul and Naranjo 2020),
counting the bins that training filled; the training shares are taken as known. Its variance is that of the delta
method plus 2 (bins - 1) / n^2, the variance of the chi-square limit without a shift, where the former vanishes.
A feature drifts when all three hold (docs/adr/0014): the corrected index passes the limit (effect), Pearson's
chi-square is beyond chance (significance), and the window has enough rows. It has not drifted when the index' upper
bound lies within the limit. The confidence is shared out over the features (Bonferroni), because one is enough to
alert. The chance of a chi-square is read from its normal approximation (Wilson and Hilferty 1931), which PromQL can
compute; down to a chance of 1 in 1,000 it is within 0.05 standard errors of the exact one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from sextant_plan.alerts import (
    CRITERION_ROWS,
    CRITERION_VALUE,
    CRITERION_VERDICT,
    FEATURE_BIN_EXPECTED,
    FEATURE_BIN_ROWS,
    FEATURE_CHI_SQUARE,
    FEATURE_PSI,
    FEATURE_PSI_ERROR,
    FEATURE_ROWS,
    FEATURE_SIGNIFICANCE,
    FEATURE_VERDICT,
    TARGET,
    VERDICT_LEVELS,
    Alert,
    AlertKind,
    AlertsByVerdict,
    Reading,
    Recording,
    Severity,
)
from sextant_plan.catalogue import FEATURE_BINS, PREDICTED_CLASS, REFERENCE_RATIO
from sextant_plan.schema import Criterion
from sextant_plan.statistics.multiplicity import shared_out
from sextant_plan.verdicts import Estimate, Verdict
from sextant_plan.window import Matcher, Selector, Target, Window, promql_duration, recorded

OF_INPUTS = Matcher("feature", PREDICTED_CLASS, negated=True)
OF_PREDICTIONS = Matcher("feature", PREDICTED_CLASS)


@dataclass(frozen=True)
class FeatureDrift:
    """One feature's index with its bounds, and Pearson's chi-square against the training shares."""

    feature: str
    estimate: Estimate
    chi_square: float
    degrees: int

    @property
    def significance(self) -> float:
        """How many standard errors chi-square lies over its expectation without a shift, by Wilson and Hilferty."""
        if not math.isfinite(self.chi_square):
            return math.inf
        degrees = max(self.degrees, 1)
        spread = 2 / (9 * degrees)
        return float(((self.chi_square / degrees) ** (1 / 3) - (1 - spread)) / math.sqrt(spread))

    @property
    def p_value(self) -> float:
        """The chance of so large a chi-square without a shift; 0 where training never filled a filled bin."""
        if not math.isfinite(self.chi_square):
            return 0.0
        if self.degrees == 0:
            return 1.0
        from scipy.special import chdtrc

        return float(chdtrc(self.degrees, self.chi_square))


def feature_drift(feature: str, counts: Mapping[str, float], shares: Mapping[str, float], z: float) -> FeatureDrift:
    """Measure one feature: `counts` of rows and training `shares` by bin, `z` standard errors a side.

    Bins are those of `shares`; one without a count holds 0 rows. There must be at least one row.
    """
    share = np.array(list(shares.values()), dtype=np.float64)
    count = np.array([counts.get(bin_, 0.0) for bin_ in shares], dtype=np.float64)
    rows = float(count.sum())
    expected, padded = rows * share, rows + 0.5 * len(share)
    ratio = (count + 0.5) / (expected + 0.5)
    logarithm = np.log(ratio)
    slope, weight = logarithm + 1 - 1 / ratio, (count + 0.5) / padded
    index, first, second = float((count - expected) @ logarithm) / padded, weight @ slope, weight @ slope**2
    filled = share > 0
    degrees = max(int(filled.sum()) - 1, 0)
    chi_square = float(((count - expected)[filled] ** 2 / expected[filled]).sum())
    if count[~filled].any():
        chi_square = math.inf
    value = index - degrees / rows
    error = math.sqrt(max(float(second - first**2), 0.0) / rows + 2 * degrees / rows**2)
    confidence = NormalDist().cdf(z)
    estimate = Estimate(value, value - z * error, value + z * error, int(rows), confidence)
    return FeatureDrift(feature, estimate, chi_square, degrees)


def drift_by_feature(
    window: Window, model: str, target: Target, z: float, which: Matcher = OF_INPUTS
) -> list[FeatureDrift]:
    """Measure each feature of a target that had rows in the window, by name; `z` as in `feature_drift`."""
    counts = _by_feature(window, Selector.of(FEATURE_BINS.name, model=model).where(which), target)
    shares = _by_feature(window, Selector.of(REFERENCE_RATIO.name, model=model).where(which), target)
    return [
        feature_drift(name, counts[name], shares[name], z)
        for name in sorted(shares.keys() & counts.keys())
        if sum(counts[name].get(bin_, 0.0) for bin_ in shares[name]) > 0
    ]


def _by_feature(window: Window, selector: Selector, target: Target) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for sample in window.select(selector):
        if sample.target == target:
            found.setdefault(sample.labels.get("feature", ""), {})[sample.labels.get("bin", "")] = sample.value
    return found


@dataclass(frozen=True)
class DriftRule(AlertsByVerdict):
    """A criterion on the largest index of any feature; `window` is in seconds.

    `which` picks the profiled features, `what` names one of them, `features` is how many there are.
    """

    criterion: Criterion
    kind: AlertKind | None
    model: str
    which: Matcher
    what: str
    features: int
    min_n: int
    window: float
    hold: float
    labels: dict[str, str]

    @property
    def requirement(self) -> str:
        """The requirement as one clause."""
        return f"a stability index of at most {self.criterion.limit:.6g} nats for {self.what}"

    @property
    def z(self) -> float:
        """How many standard errors make one side, the confidence shared out over the features."""
        return shared_out(self.criterion.confidence, self.features)

    def recordings(self) -> list[Recording]:
        """Return rows by bin, expected rows, the index with its error, chi-square, and the verdicts."""
        return [*self._bin_recordings(), *self._feature_recordings(), *self._criterion_recordings()]

    def alerts(self) -> list[Alert]:
        """Return the alert that fires for each feature that has drifted; none where the criterion asks for none."""
        if self.kind is None:
            return []
        return [
            Alert(
                self.kind,
                f"{recorded(FEATURE_PSI, self.labels)} and ({recorded(FEATURE_VERDICT, self.labels)} == -1)",
                self.hold,
                Severity.WARNING,
                f"{self.model}: {{{{ $labels.feature }}}} has drifted",
                f"The plan asks for {self.requirement} ({self.criterion.id}). {{{{ $labels.feature }}}} of variant "
                "{{ $labels.variant }}, version {{ $labels.version }}, has {{ $value | humanize }} nats over the last "
                f"{promql_duration(self.window)}; chance alone gives so large a shift of any feature in less than "
                f"{100 * (1 - self.criterion.confidence):.3g} % of windows.",
                self.labels,
            )
        ]

    def read(self, window: Window) -> list[Reading]:
        """Return a reading for each target: its worst feature's; one without rows leaves it unknown at best."""
        shares = Selector.of(REFERENCE_RATIO.name, model=self.model).where(self.which)
        readings = []
        for target in window.targets(self.model):
            drifts = drift_by_feature(window, self.model, target, self.z, self.which)
            silent = len(_by_feature(window, shares, target)) - len(drifts)
            verdicts = [self.verdict(drift) for drift in drifts] + [Verdict.UNKNOWN] * silent
            enough = [drift.estimate for drift in drifts if drift.estimate.n >= self.min_n]
            estimate = None
            if enough:
                estimate = Estimate(
                    max(each.value for each in enough),
                    max(each.low for each in enough),
                    max(each.high for each in enough),
                    0 if silent else min(drift.estimate.n for drift in drifts),
                    self.criterion.confidence,
                )
            verdict = min(verdicts, key=VERDICT_LEVELS.__getitem__, default=Verdict.UNKNOWN)
            readings.append(Reading(target, verdict, estimate))
        return readings

    def verdict(self, drift: FeatureDrift) -> Verdict:
        """Return the verdict on one feature: effect, significance and rows; or proof that it stays within the limit."""
        if drift.estimate.n < self.min_n:
            return Verdict.UNKNOWN
        if drift.estimate.value > self.criterion.limit:
            return Verdict.FAIL if drift.significance > self.z else Verdict.UNKNOWN
        return Verdict.PASS if drift.estimate.high <= self.criterion.limit else Verdict.UNKNOWN

    def _bin_recordings(self) -> list[Recording]:
        by_bin = f"{TARGET}, feature, bin"
        counters = Selector.of(FEATURE_BINS.name, model=self.model).where(self.which).promql()
        ratios = Selector.of(REFERENCE_RATIO.name, model=self.model).where(self.which).promql()
        shares = f"max by ({by_bin}) ({ratios})"
        rows = f"sum by ({by_bin}) (increase({counters}[{promql_duration(self.window)}]))"
        counted, total = recorded(FEATURE_BIN_ROWS, self.labels), recorded(FEATURE_ROWS, self.labels)
        return [
            Recording(FEATURE_BIN_ROWS, f"({rows} and {shares}) or 0 * {shares}", self.labels),
            Recording(FEATURE_ROWS, f"sum by ({TARGET}, feature) ({counted})", self.labels),
            Recording(FEATURE_BIN_EXPECTED, f"{shares} * on ({TARGET}, feature) group_left () {total}", self.labels),
        ]

    def _feature_recordings(self) -> list[Recording]:
        counted, expected, rows = (
            recorded(name, self.labels) for name in (FEATURE_BIN_ROWS, FEATURE_BIN_EXPECTED, FEATURE_ROWS)
        )
        by_feature = f"sum by ({TARGET}, feature)"
        on_feature = f"on ({TARGET}, feature)"
        ratio = f"(({counted} + 0.5) / ({expected} + 0.5))"
        slope = f"(ln({ratio}) + 1 - 1 / {ratio})"
        padded = f"{by_feature} ({counted} + 0.5)"
        degrees = f"({by_feature} ({expected} > bool 0) - 1)"
        index = f"{by_feature} (({counted} - {expected}) * ln({ratio})) / {padded} - {degrees} / {on_feature} {rows}"
        first = f"({by_feature} (({counted} + 0.5) * {slope}) / {padded})"
        second = f"({by_feature} (({counted} + 0.5) * {slope} ^ 2) / {padded})"
        variance = (
            f"clamp_min({second} - {first} ^ 2, 0) / {on_feature} {rows} + 2 * {degrees} / {on_feature} {rows} ^ 2"
        )
        chi_square = f"{by_feature} (({counted} - {expected}) ^ 2 / {expected} >= 0)"
        spread = f"(2 / (9 * clamp_min({degrees}, 1)))"
        recorded_square = f"{by_feature} ({recorded(FEATURE_CHI_SQUARE, self.labels)})"
        cube_root = f"({recorded_square} / clamp_min({degrees}, 1)) ^ (1 / 3)"
        return [
            Recording(FEATURE_PSI, index, self.labels),
            Recording(FEATURE_PSI_ERROR, f"sqrt({variance})", self.labels),
            Recording(FEATURE_CHI_SQUARE, chi_square, self.labels),
            Recording(FEATURE_SIGNIFICANCE, f"({cube_root} - (1 - {spread})) / sqrt({spread})", self.labels),
        ]

    def _criterion_recordings(self) -> list[Recording]:
        index, error, rows, significance = (
            recorded(name, self.labels) for name in (FEATURE_PSI, FEATURE_PSI_ERROR, FEATURE_ROWS, FEATURE_SIGNIFICANCE)
        )
        limit, z = repr(self.criterion.limit), repr(self.z)
        beyond_chance = f"(({significance} or 0 * {rows}) > bool {z})"  # without rows there is no chi-square
        verdict = (
            f"({rows} >= bool {self.min_n}) * ("
            f"({index} + {z} * {error} <= bool {limit}) - ({index} > bool {limit}) * {beyond_chance})"
        )
        return [
            Recording(FEATURE_VERDICT, verdict, self.labels),
            Recording(CRITERION_VALUE, f"max by ({TARGET}) ({index} and ({rows} >= {self.min_n}))", self.labels),
            Recording(CRITERION_ROWS, f"min by ({TARGET}) ({rows})", self.labels),
            Recording(CRITERION_VERDICT, f"min by ({TARGET}) ({recorded(FEATURE_VERDICT, self.labels)})", self.labels),
        ]
