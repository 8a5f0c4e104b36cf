"""A/B and shadow by the business metric: what the units' answers are worth, look by look, from servers' counters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sextant_plan.canary_criteria import ALPHA, canary_criteria, runs_in_one_server
from sextant_plan.catalogue import BATCH_ROWS, FEEDBACK, UNIT_OUTCOMES, UNITS
from sextant_plan.schema import Plan
from sextant_plan.unit_worth import UnitWorth, judge_gain
from sextant_plan.verdicts import Verdict
from sextant_plan.window import Selector, Window
from sextant_serving.rollout.ports import Arm, Reading

ROWS = f"{BATCH_ROWS.name}_sum"
WORTH_SERIES = (UNITS.name, ROWS, FEEDBACK.name)
CRITERION = "worth"  # the name under which the comparison stands beside the plan's criteria


class Comparing:
    """The comparison that a plan of strategy ab or shadow asks for, within one error budget with its criteria.

    A plan without comparison or economics was refused when it was loaded.
    """

    def __init__(self, plan: Plan) -> None:
        self._wanted, self._economics = plan.rollout.comparison, plan.goal.economics
        self._alpha = ALPHA / (len(canary_criteria(plan)) + 1)

    def grown(
        self, worth: UnitWorth, canary: Window, stable: Window, readings: Mapping[Arm, Sequence[Reading]]
    ) -> UnitWorth:
        """Return the evidence with one more look at both arms."""
        assert self._economics is not None
        arms = canary, stable
        units = tuple({name: _count(window, UNITS.name, outcome=name) for name in UNIT_OUTCOMES} for window in arms)
        rows = tuple(_count(window, ROWS) for window in arms)
        labelled = tuple(sum(_count(window, FEEDBACK.name, outcome=name) for name in UNIT_OUTCOMES) for window in arms)
        processes = max(1, *(len(found) for found in readings.values()))
        return worth.grown(
            self._economics, (units[0], units[1]), (rows[0], rows[1]), (labelled[0], labelled[1]), processes=processes
        )

    def verdict(self, worth: UnitWorth) -> tuple[Verdict, str]:
        """Return what the evidence says, and in words what it rests on."""
        assert self._wanted is not None
        assert self._economics is not None
        low, high = worth.bounds(ALPHA)[0], worth.bounds(self._alpha)[1]
        (challenger, champion), (share, other) = worth.units, worth.coverage
        verdict, missing = judge_gain(
            self._wanted, low=low, high=high, units=(champion, challenger), coverage=(other, share)
        )
        said = (
            f"gain of one answer between {low:.4g} and {high:.4g} {self._economics.currency}, "
            f"{self._wanted.gain_at_least:g} asked for; {challenger} and {champion} units"
        )
        return verdict, f"{said}; {missing}" if missing else said

    @property
    def requirement(self) -> str:
        """The requirement as one clause."""
        assert self._wanted is not None
        return f"one answer is worth at least {self._wanted.gain_at_least:g} more than the champion's"


def comparing_of(plan: Plan) -> Comparing | None:
    """Return the comparison of a plan of strategy ab or shadow, None for any other."""
    return Comparing(plan) if runs_in_one_server(plan) else None


def _count(window: Window, series: str, **labels: str) -> int:
    return round(sum(sample.value for sample in window.select(Selector.of(series, **labels))))
