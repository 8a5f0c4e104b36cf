"""What notices a failure: the plan's own alert, read on a server's counters as Prometheus would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sextant_monitoring.scrape import Scrape, window_between
from sextant_plan.alerts import AlertKind, Rule
from sextant_plan.catalogue import FEATURE_OUTAGE, Enforcement
from sextant_plan.drift_rule import DriftRule
from sextant_plan.presence_rules import FailureRule, ReadyRule
from sextant_plan.rules import compile_rules
from sextant_plan.schema import FailureMode, Plan
from sextant_plan.types import DrillName
from sextant_plan.verdicts import Verdict
from sextant_plan.window import Window

NOTHING = "no alert of the plan"


@dataclass(frozen=True)
class Detector:
    """The rules of which any one notices the failure."""

    rules: Sequence[Rule]

    @property
    def name(self) -> str:
        """The rules as the outcome names them."""
        return "; ".join(_name(rule) for rule in self.rules) or NOTHING

    def expressions(self) -> list[str]:
        """The rules' alerts as Prometheus evaluates them."""
        return [alert.expression for rule in self.rules for alert in rule.alerts()]

    def fires(self, before: Scrape, after: Scrape | None) -> bool:
        """Tell whether a rule fails on what was counted between two scrapes; a target that is gone shows nothing."""
        window = Window(()) if after is None else window_between(before, after)
        return any(reading.verdict is Verdict.FAIL for rule in self.rules for reading in rule.read(window))


def detector_of(plan: Plan, drill: DrillName, modes: Sequence[FailureMode]) -> Detector:
    """Return the alerts that the failure modes name, or where they name none those of the plan that fit the drill."""
    rules = compile_rules(plan)
    named = {mode.alert for mode in modes if mode.alert is not None}
    chosen = [rule for rule in rules if _is_named(rule, named)]
    if not chosen and not named:
        chosen = [rule for rule in rules if _fits(rule, drill)]
    if not chosen and drill is DrillName.FEATURE_STORE_DOWN:
        mode = modes[0] if modes else FailureMode(mode=drill.value, fallback="the plan's", recover_within=60.0)
        chosen = [FailureRule(mode, FEATURE_OUTAGE, plan.name, {"plan": plan.name})]
    return Detector(chosen)


def _is_named(rule: Rule, names: set[str]) -> bool:
    if isinstance(rule, FailureRule):
        return rule.reason in names
    if isinstance(rule, ReadyRule):
        return AlertKind.NO_READY_SERVER.value in names
    return rule.criterion is not None and rule.criterion.id in names


def _fits(rule: Rule, drill: DrillName) -> bool:
    if drill is DrillName.DEAD_POD:
        return isinstance(rule, ReadyRule)
    if drill is DrillName.FEATURE_STORE_DOWN:
        return isinstance(rule, FailureRule) and rule.reason == FEATURE_OUTAGE
    criterion = rule.criterion
    if criterion is None or Enforcement.ALERT not in criterion.enforce:
        return False
    if drill is DrillName.DRIFT:
        return isinstance(rule, DriftRule)
    return drill is DrillName.SLOW_MODEL and criterion.metric.startswith("latency_")


def _name(rule: Rule) -> str:
    if rule.criterion is not None:
        return f"alert of {rule.criterion.id}: {rule.requirement}"
    return f"alert: {rule.requirement}"
