"""The series of `sextant trigger`."""

from __future__ import annotations

from sextant_plan.catalogue.series import Series

TRIGGER_DECISIONS = Series(
    "sextant_trigger_decisions_total", "counter", "alerts", "Alerts by what they led to.", ("action",)
)
TRIGGER_ERRORS = Series(
    "sextant_trigger_errors_total", "counter", "notifications", "Notifications that could not be acted on."
)
TRIGGER: dict[str, Series] = {series.name: series for series in (TRIGGER_DECISIONS, TRIGGER_ERRORS)}
