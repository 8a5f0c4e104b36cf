"""The rule on a quantity that is no sample: it holds or it does not, and unseen it is unknown."""

from __future__ import annotations

from dataclasses import dataclass

from sextant_plan.alerts import (
    CRITERION_VALUE,
    CRITERION_VERDICT,
    Alert,
    AlertKind,
    AlertsByVerdict,
    Reading,
    Recording,
    Severity,
    proved_violation,
)
from sextant_plan.quantities import Quantity
from sextant_plan.schema import Criterion
from sextant_plan.verdicts import Estimate, Verdict
from sextant_plan.window import Window, recorded


@dataclass(frozen=True)
class ThresholdRule(AlertsByVerdict):
    """A criterion on a quantity; `what` names it and its unit is the metric's. No kind, no alert."""

    criterion: Criterion
    kind: AlertKind | None
    severity: Severity
    what: str
    model: str
    quantity: Quantity
    hold: float
    labels: dict[str, str]

    @property
    def limit(self) -> float:
        """The limit on the quantity."""
        return self.criterion.limit

    @property
    def requirement(self) -> str:
        """The requirement as one clause."""
        side = "at least" if self.criterion.at_least is not None else "at most"
        return f"{self.what} of {side} {self.limit:.6g} {self.criterion.definition.unit}"

    def recordings(self) -> list[Recording]:
        """Return the value and the verdict as -1 or 1."""
        value = recorded(CRITERION_VALUE, self.labels)
        good = ">=" if self.criterion.at_least is not None else "<="
        return [
            Recording(CRITERION_VALUE, self.quantity.promql(), self.labels),
            Recording(CRITERION_VERDICT, f"2 * ({value} {good} bool {self.limit!r}) - 1", self.labels),
        ]

    def alerts(self) -> list[Alert]:
        """Return the alert that fires while the threshold is passed; none where the criterion asks for none."""
        if self.kind is None:
            return []
        where = ", ".join(f"{label} {{{{ $labels.{label} }}}}" for label in self.quantity.by if label != "model")
        return [
            Alert(
                self.kind,
                proved_violation(self.labels),
                self.hold,
                self.severity,
                f"{self.model}: {self.criterion.id} is violated",
                f"The plan asks for {self.requirement}; it is {{{{ $value | humanize }}}} at {where}.",
                self.labels,
            )
        ]

    def read(self, window: Window) -> list[Reading]:
        """Return a reading for each target that has a value; none tells nothing."""
        readings = []
        for target, value in sorted(self.quantity.of(window).items()):
            good = value >= self.limit if self.criterion.at_least is not None else value <= self.limit
            estimate = Estimate(value, value, value, 1, 1.0)
            readings.append(Reading(target, Verdict.PASS if good else Verdict.FAIL, estimate))
        return readings
