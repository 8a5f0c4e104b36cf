"""Keeping watch over one server from a program: look again and again, and know which alerts fire."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sextant_plan.schema import Plan
from sextant_plan.verdicts import Verdict

if TYPE_CHECKING:
    from sextant_monitoring.local_alerts import LocalAlerts
    from sextant_monitoring.watcher import Judged, Look, Watcher


@dataclass
class Vigil:
    """Watches the server at `url` by a plan's rules; `told` is what the last look tells a webhook."""

    plan: Plan
    url: str
    told: list[dict[str, Any]] = field(default_factory=list)
    _last: Look | None = None

    def __post_init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin a new history, as a watcher that is started now."""
        from sextant_monitoring.local_alerts import LocalAlerts
        from sextant_monitoring.watcher import Watcher

        self._watcher: Watcher = Watcher(self.plan, self.url)
        self._alerts: LocalAlerts = LocalAlerts(self.plan)
        self.told, self._last = [], None

    def look(self) -> set[str]:
        """Look once; return what fires. A server that does not answer is a finding, no error."""
        from sextant_monitoring.http import ServerSilent

        try:
            self._last = self._watcher.look(time.time())
        except ServerSilent:
            self._last = self._watcher.look_in_vain(time.time())
        self.told = self._alerts.update(self._last)
        return self.firing

    @property
    def firing(self) -> set[str]:
        """What fired at the last look: criteria by their ids, others by the alert's name."""
        fire = (each["labels"] for each in self.told if each["status"] == "firing")
        return {str(labels.get("criterion", labels["alertname"])) for labels in fire}

    def holds(self, criterion: str, version: str) -> bool:
        """Look once; tell whether the criterion is proved for a version."""
        self.look()
        return any(
            reading.target[1] == version and reading.verdict is Verdict.PASS
            for judged in self._judged(criterion)
            for reading in judged.readings
        )

    def words(self, criterion: str, version: str) -> str:
        """Return what the last look found of a criterion for a version."""
        for judged in self._judged(criterion):
            for reading in judged.readings:
                if reading.target[1] == version and (found := reading.estimate) is not None:
                    bounds = f"{found.low:.3f} to {found.high:.3f}, n {found.n}"
                    return f"{found.value:.3f} ({bounds}), wanted: {judged.rule.requirement}"
        return "not enough rows"

    def _judged(self, criterion: str) -> list[Judged]:
        return [] if self._last is None else [each for each in self._last.judged if each.name == criterion]
