"""The rules on what must be there and what must pass: a ready server, an end of each failure mode."""

from __future__ import annotations

from dataclasses import dataclass

from sextant_plan.alerts import TARGET, Alert, AlertKind, AlertsByVerdict, Reading, Recording, Severity
from sextant_plan.catalogue import FALLBACKS, READY
from sextant_plan.schema import Criterion, FailureMode
from sextant_plan.verdicts import Verdict
from sextant_plan.window import Selector, Window, promql_duration

ABSENT_HOLD = 120.0  # two scrapes at Prometheus's default interval of a minute, so that one lost scrape wakes nobody
LOOKBACK = 120.0  # an increase needs two scrapes


@dataclass(frozen=True)
class ReadyRule(AlertsByVerdict):
    """At least one server of the model is scraped and ready; a vanished target is a violation."""

    model: str
    labels: dict[str, str]
    criterion: Criterion | None = None
    hold: float = ABSENT_HOLD

    @property
    def requirement(self) -> str:
        """The requirement as one clause."""
        return "at least one server of the model is scraped and ready"

    def recordings(self) -> list[Recording]:
        """Return none: the alert reads the server's own gauge."""
        return []

    def alerts(self) -> list[Alert]:
        """Return the alert that fires when no server is ready, or none is scraped."""
        ready = Selector.of(READY.name, model=self.model).promql()
        return [
            Alert(
                AlertKind.NO_READY_SERVER,
                f"absent({ready} == 1)",
                self.hold,
                Severity.CRITICAL,
                f"{self.model}: no server is ready",
                f"No scraped server of {self.model} reports itself ready: all are gone, not scraped, or still loading.",
                self.labels,
            )
        ]

    def read(self, window: Window) -> list[Reading]:
        """Return one reading for the model: fail without a ready target."""
        ready = any(sample.value == 1 for sample in window.select(Selector.of(READY.name, model=self.model)))
        return [Reading((self.model, "", ""), Verdict.PASS if ready else Verdict.FAIL)]


@dataclass(frozen=True)
class FailureRule(AlertsByVerdict):
    """A failure mode that the server answers with a fallback does not last longer than the plan allows."""

    mode: FailureMode
    reason: str
    model: str
    labels: dict[str, str]
    criterion: Criterion | None = None

    @property
    def requirement(self) -> str:
        """The requirement as one clause."""
        return f"{self.mode.mode} ends within {promql_duration(self.mode.recover_within)}"

    @property
    def fallbacks(self) -> Selector:
        """The rows that were answered by this mode's fallback."""
        return Selector.of(FALLBACKS.name, model=self.model, reason=self.reason)

    def recordings(self) -> list[Recording]:
        """Return none: the alert reads the server's own counter."""
        return []

    def alerts(self) -> list[Alert]:
        """Return the alert that fires when rows keep falling back for `recover_within`.

        The increase stays positive for a lookback after the last such row, so the hold is longer by as much.
        """
        return [
            Alert(
                AlertKind.FAILURE_LASTING,
                f"sum by ({TARGET}) (increase({self.fallbacks.promql()}[{promql_duration(LOOKBACK)}])) > 0",
                self.mode.recover_within + LOOKBACK,
                Severity.CRITICAL,
                f"{self.model}: {self.mode.mode} lasts",
                f"Rows are answered by the fallback ({self.mode.fallback}) for longer than the "
                f"{promql_duration(self.mode.recover_within)} that the plan allows for {self.mode.mode}.",
                {**self.labels, "mode": self.mode.mode},
            )
        ]

    def read(self, window: Window) -> list[Reading]:
        """Return a reading for each target: fail where rows fell back in the window."""
        fell_back = {sample.target for sample in window.select(self.fallbacks) if sample.value > 0}
        return [
            Reading(target, Verdict.FAIL if target in fell_back else Verdict.PASS)
            for target in window.targets(self.model)
        ]
