"""What a challenger's answers are worth to the business, unit by unit, as counters tell it while it is tried.

A unit counts by the first label of its answers: right, wrong or abstained (`sextant_units_total`). Its worth follows
from `goal.economics`, so that a look's mean and variance are those of three values. Each server process counts a unit
once; behind several of them it may count once in each, so the variance is multiplied by their number, which bounds
the dependence (Cauchy-Schwarz).
"""

from __future__ import annotations

from collections.abc import Mapping

from sextant_plan.schema import Closed, Comparison, Economics
from sextant_plan.sequential import MeanDifference
from sextant_plan.verdicts import Verdict

FEWEST_UNITS = 30  # of either arm, below which the normal approximation behind the bounds says nothing
MOST_UNEQUAL = 0.1  # difference of the arms' shares of labelled rows, above which labels may depend on the answer

Units = Mapping[str, int]
"""Units by outcome: agree, disagree, abstained."""


class UnitWorth(Closed):
    """What the looks so far say; pairs are (challenger, champion). `labelled` of `rows` rows had a label."""

    units: tuple[int, int] = (0, 0)
    rows: tuple[int, int] = (0, 0)
    labelled: tuple[int, int] = (0, 0)
    weight: float = 0.0
    weighted_difference: float = 0.0
    weighted_variance: float = 0.0
    n_challenger: float = 0.0

    def bounds(self, alpha: float) -> tuple[float, float]:
        """Return one-sided bounds of the gain of one answer, each at level `alpha`, in the economics' currency."""
        return self._difference().bounds(alpha)

    @property
    def coverage(self) -> tuple[float, float]:
        """The labelled share of the rows, challenger and champion; 0 without rows."""
        shares = [labelled / rows if rows else 0.0 for labelled, rows in zip(self.labelled, self.rows, strict=True)]
        return shares[0], shares[1]

    def grown(
        self, economics: Economics, units: tuple[Units, Units], rows: tuple[int, int], labelled: tuple[int, int],
        *, processes: int,
    ) -> UnitWorth:  # fmt: skip
        """Return this with one more look, of (challenger, champion); `processes` answered in it."""
        difference = self._difference()
        counts = sum(units[0].values()), sum(units[1].values())
        if min(counts):
            (mean_c, spread_c), (mean_s, spread_s) = (_moments(economics, arm) for arm in units)
            difference.update(counts, (mean_c, mean_s), (spread_c * processes, spread_s * processes))
        return UnitWorth(
            units=(self.units[0] + counts[0], self.units[1] + counts[1]),
            rows=(self.rows[0] + rows[0], self.rows[1] + rows[1]),
            labelled=(self.labelled[0] + labelled[0], self.labelled[1] + labelled[1]),
            weight=difference.weight,
            weighted_difference=difference.weighted_difference,
            weighted_variance=difference.weighted_variance,
            n_challenger=difference.n_canary,
        )

    def _difference(self) -> MeanDifference:
        return MeanDifference(self.weight, self.weighted_difference, self.weighted_variance, self.n_challenger)


def judge_gain(
    wanted: Comparison, *, low: float, high: float, units: tuple[int, int], coverage: tuple[float, float]
) -> tuple[Verdict, str]:
    """Return the verdict on a gain with its bounds, and where it is unknown what is missing.

    `units` and `coverage` (labelled shares of the rows) are of champion and challenger.
    """
    if min(coverage) < wanted.join_at_least:
        return Verdict.UNKNOWN, f"labels of {min(coverage):.0%} of the rows, {wanted.join_at_least:.0%} are needed"
    if abs(coverage[0] - coverage[1]) > MOST_UNEQUAL:
        return Verdict.UNKNOWN, "one variant's answers get labels far more often than the other's"
    if min(units) < FEWEST_UNITS:
        return Verdict.UNKNOWN, f"{min(units)} units of one variant, {FEWEST_UNITS} are needed for any verdict"
    if high < wanted.gain_at_least:
        return Verdict.FAIL, ""
    if units[1] < wanted.min_units:
        return Verdict.UNKNOWN, f"{units[1]} units of the challenger, {wanted.min_units} are needed"
    if low >= wanted.gain_at_least:
        return Verdict.PASS, ""
    return Verdict.UNKNOWN, "the bounds of the gain lie on both sides of what is asked for"


def _moments(economics: Economics, units: Units) -> tuple[float, float]:
    """Return mean and variance of what one unit was worth."""
    values = {"agree": economics.value_per_correct, "disagree": -economics.cost_per_error, "abstained": 0.0}
    n = sum(units.values())
    mean = sum(count * values[outcome] for outcome, count in units.items()) / n
    return mean, sum(count * (values[outcome] - mean) ** 2 for outcome, count in units.items()) / n
