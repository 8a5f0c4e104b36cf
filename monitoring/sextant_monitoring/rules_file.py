"""The plan's recording and alert rules as a Prometheus rule file.

The document is `groups:`, which Prometheus loads as it is and a PrometheusRule object holds as its `spec`.
"""

from __future__ import annotations

from typing import Any

import yaml

from sextant_plan.alerts import Alert, Recording, Rule
from sextant_plan.burn_rule import BurnRule
from sextant_plan.loading import plan_hash
from sextant_plan.rules import compile_rules, retrain_alerts
from sextant_plan.schema import Plan
from sextant_plan.window import promql_duration

INTERVAL = "1m"  # of evaluation; the holds of the alerts are multiples of it


def render_rules(plan: Plan) -> str:
    """Return the rule file of a plan; equal plans give equal text. Raises UsageError as `compile_rules` does."""
    header = f"# Generated from the plan {plan.name}, {plan_hash(plan)}; change the plan, not this file.\n"
    return header + yaml.safe_dump(rule_groups(plan), sort_keys=False, width=110, allow_unicode=True)


def rule_groups(plan: Plan) -> dict[str, Any]:
    """Return the document as plain values: a group for each criterion and objective, for presence, and to retrain."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for rule in compile_rules(plan):
        entries = groups.setdefault(_group(rule), [])
        entries += [_recording(each) for each in rule.recordings()] + [_alert(each, plan) for each in rule.alerts()]
    if retrain := [_alert(each, plan) for each in retrain_alerts(plan)]:
        groups["retrain"] = retrain
    return {
        "groups": [
            {"name": f"sextant.{plan.name}.{name}", "interval": INTERVAL, "rules": rules}
            for name, rules in groups.items()
        ]
    }


def _group(rule: Rule) -> str:
    if rule.criterion is not None:
        return rule.criterion.id
    return f"objective.{rule.objective}" if isinstance(rule, BurnRule) else "presence"


def _recording(recording: Recording) -> dict[str, Any]:
    return {"record": recording.record, "expr": recording.expression, "labels": dict(recording.labels)}


def _alert(alert: Alert, plan: Plan) -> dict[str, Any]:
    hold = {"for": promql_duration(alert.hold)} if alert.hold else {}
    return {
        "alert": alert.kind.alert,
        "expr": alert.expression,
        **hold,
        "labels": {"severity": alert.severity.value, **alert.labels},
        "annotations": {
            "summary": alert.summary,
            "description": alert.description,
            "runbook_url": plan.monitoring.notify.runbook(alert.kind),
        },
    }
