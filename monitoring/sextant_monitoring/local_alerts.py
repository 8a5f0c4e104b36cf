"""Alerts without Prometheus: what fires by the looks of one watcher, as Alertmanager would tell it to a webhook.

An alert fires once its rule has failed in every look for as long as the rule holds back, and is told once more when it
is over. A retraining is due by whole windows, each judged at the first look after its end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sextant_monitoring.http import post_json
from sextant_monitoring.launcher import TimeWindow, WindowVerdict, is_retrain_due
from sextant_monitoring.watcher import Look
from sextant_plan.alerts import Alert
from sextant_plan.catalogue import COMMON_LABELS
from sextant_plan.rules import retrain_alerts
from sextant_plan.schema import Plan

NO_END = "0001-01-01T00:00:00Z"  # what Alertmanager writes while an alert fires

Key = frozenset[tuple[str, str]]


@dataclass
class _Failing:
    """An alert whose rule fails; `since` is the Unix time of the first look that said so."""

    alert: Alert
    since: float
    fires: bool = False


@dataclass
class LocalAlerts:
    """The alerts of one plan over the looks that `update` is given, in the order of their times."""

    plan: Plan
    _failing: dict[Key, _Failing] = field(default_factory=dict)
    _windows: dict[str, deque[WindowVerdict]] = field(default_factory=dict)
    _last_window: TimeWindow | None = None

    def update(self, look: Look) -> list[dict[str, Any]]:
        """Return the alerts that fire at a look and those that have just ended, as a webhook's `alerts`."""
        wanted = {_key(labels): (alert, labels) for alert, labels in self._wanted(look)}
        told = [
            _as_alert(dict(key), failing, ended=look.at)
            for key, failing in self._failing.items()
            if key not in wanted and failing.fires
        ]
        self._failing = {key: failing for key, failing in self._failing.items() if key in wanted}
        for key, (alert, labels) in wanted.items():
            failing = self._failing.setdefault(key, _Failing(alert, look.at))
            failing.fires = look.at - failing.since >= alert.hold
            if failing.fires:
                told.append(_as_alert(labels, failing, ended=None))
        return told

    def _wanted(self, look: Look) -> Iterator[tuple[Alert, dict[str, str]]]:
        """Yield each alert whose expression is true at a look, with its labels."""
        for judged in look.judged:
            for reading in judged.readings:
                yield from ((alert, _labels(alert, reading.target)) for alert in judged.rule.alerts_of(reading))
        self._judge_window(look)
        for alert in retrain_alerts(self.plan):
            history = self._windows.get(alert.labels["criterion"], ())
            if is_retrain_due(tuple(history), self.plan.monitoring.retrain, last_start=None):
                yield alert, _labels(alert, ())

    def _judge_window(self, look: Look) -> None:
        """Keep the verdicts of the window that has ended since the last look."""
        window = TimeWindow.ended_before(look.at, self.plan.monitoring.window)
        if window == self._last_window:
            return
        watched, self._last_window = self._last_window is not None, window
        if not watched:
            return  # watching began in the middle of this window
        for judged in look.judged:
            if judged.rule.criterion is not None:
                of_last = self.plan.monitoring.retrain.n_of_last[1]
                kept = self._windows.setdefault(judged.name, deque(maxlen=of_last))
                kept.append(WindowVerdict(window, judged.verdict))


def send_alerts(url: str, alerts: Iterable[dict[str, Any]], token: str | None = None) -> Any:
    """Post alerts to a webhook that takes Alertmanager's notifications; return its answer. Raises ServerSilent."""
    return post_json(url, {"version": "4", "alerts": list(alerts)}, token)


def _key(labels: dict[str, str]) -> Key:
    return frozenset(labels.items())


def _labels(alert: Alert, target: tuple[str, ...]) -> dict[str, str]:
    common = {name: value for name, value in zip(COMMON_LABELS, target, strict=False) if value}
    return {**common, **alert.labels, "alertname": alert.kind.alert, "severity": alert.severity.value}


def _as_alert(labels: dict[str, str], failing: _Failing, *, ended: float | None) -> dict[str, Any]:
    return {
        "status": "firing" if ended is None else "resolved",
        "labels": labels,
        "annotations": {"summary": failing.alert.summary},
        "startsAt": _moment(failing.since + failing.alert.hold),
        "endsAt": NO_END if ended is None else _moment(ended),
        "fingerprint": "",
    }


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
