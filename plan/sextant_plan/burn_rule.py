"""The rule on an error budget: how fast it is spent, over a long and a short window at once.

A service objective leaves a budget of bad requests over its period. Spending it evenly is a burn rate of 1; an alert
asks that the rate is passed over a long window, so that it matters, and over a short one, so that it ends soon after
the fault does (Beyer et al., The Site Reliability Workbook, 2018, chapter 5).
"""

from __future__ import annotations

from dataclasses import dataclass

from sextant_plan.alerts import (
    SLO_BAD_RATIO,
    SLO_BUDGET_LEFT,
    TARGET,
    Alert,
    AlertKind,
    Reading,
    Recording,
    Severity,
)
from sextant_plan.catalogue import READY
from sextant_plan.schema import Burn, Criterion
from sextant_plan.share_rule import Count
from sextant_plan.verdicts import Verdict
from sextant_plan.window import Selector, Target, Window, promql_duration, recorded


@dataclass(frozen=True)
class BurnRule:
    """One objective: of `rows` requests at most the share `budget` may be among `events`, over `period` seconds."""

    objective: str
    what: str
    model: str
    events: Count
    rows: Count
    budget: float
    period: float
    burns: tuple[Burn, ...]
    min_n: int
    labels: dict[str, str]
    criterion: Criterion | None = None

    @property
    def requirement(self) -> str:
        """The requirement as one clause."""
        return f"at most {100 * self.budget:.6g} % of {self.what} over {promql_duration(self.period)}"

    @property
    def spans(self) -> list[float]:
        """The lengths of the windows that it reads, in seconds, rising."""
        return sorted({span for burn in self.burns for span in (burn.long, burn.short)})

    def recordings(self) -> list[Recording]:
        """Return the share of bad requests over each window, and what is left of the period's budget."""
        ratios = [Recording(SLO_BAD_RATIO, self._ratio(span), self._over(span)) for span in self.spans]
        left = f"1 - ({self._ratio(self.period)}) / {self.budget!r}"
        return [*ratios, Recording(SLO_BUDGET_LEFT, left, {**self.labels, "objective": self.objective})]

    def alerts(self) -> list[Alert]:
        """Return an alert for each pair of windows."""
        return [self._alert(burn) for burn in self.burns]

    def alerts_of(self, reading: Reading) -> list[Alert]:
        """Return the alerts of the pairs that burn too fast for the target of a reading."""
        return [self._alert(burn) for burn in reading.burning]

    def read(self, window: Window) -> list[Reading]:
        """Return a reading for each target: fail where any pair burns too fast, unknown where one was not watched."""
        return [self._reading(window, target) for target in window.targets(self.model)]

    def _reading(self, window: Window, target: Target) -> Reading:
        seen = [(burn, self._is_burning(burn, window, target)) for burn in self.burns]
        if burning := tuple(burn for burn, burns in seen if burns):
            return Reading(target, Verdict.FAIL, burning=burning)
        return Reading(target, Verdict.UNKNOWN if any(burns is None for _, burns in seen) else Verdict.PASS)

    def _is_burning(self, burn: Burn, window: Window, target: Target) -> bool | None:
        for place, span in enumerate((burn.long, burn.short)):
            seen = window.over(span)
            events = self.events.of(seen, target) if seen else None
            rows = self.rows.of(seen, target) if seen else None
            if events is None or rows is None or rows <= 0:
                return None
            if (place == 0 and rows < self.min_n) or events / rows <= burn.rate * self.budget:
                return False
        return True

    def _alert(self, burn: Burn) -> Alert:
        long, short = (recorded(SLO_BAD_RATIO, self._over(span)) for span in (burn.long, burn.short))
        limit = repr(burn.rate * self.budget)
        enough = f"{self.rows.promql(burn.long, self._ready)} >= {self.min_n}"
        spent = 100 * burn.rate * burn.long / self.period
        return Alert(
            AlertKind.BUDGET_BURNING,
            f"({long} > {limit}) and on ({TARGET}) ({short} > {limit}) and on ({TARGET}) ({enough})",
            0.0,
            Severity.CRITICAL if burn.pages else Severity.WARNING,
            f"{self.model}: the budget for {self.objective} burns {burn.rate:g} times too fast",
            f"The plan allows {self.requirement}. Variant {{{{ $labels.variant }}}} of version "
            f"{{{{ $labels.version }}}} has {{{{ $value | humanizePercentage }}}} over {promql_duration(burn.long)}, "
            f"and goes on so in the last {promql_duration(burn.short)}; at this rate {promql_duration(burn.long)} cost "
            f"{spent:.3g} % of the budget.",
            {**self.labels, "objective": self.objective, "burn": f"{burn.rate:g}"},
        )

    @property
    def _ready(self) -> Selector:
        return Selector.of(READY.name, model=self.model)

    def _over(self, span: float) -> dict[str, str]:
        return {**self.labels, "objective": self.objective, "over": promql_duration(span)}

    def _ratio(self, span: float) -> str:
        return f"({self.events.promql(span, self._ready)}) / (({self.rows.promql(span, self._ready)}) > 0)"
