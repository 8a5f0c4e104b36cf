"""One criterion, four enforcements: what each holds it by, compiled from the one definition in the plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sextant_plan.alerts import Alert, Rule
from sextant_plan.canary_criteria import CanaryCriterion, canary_criteria
from sextant_plan.catalogue import Enforcement
from sextant_plan.rules import compile_rules, retrain_alerts
from sextant_plan.schema import Criterion, Plan, Retrain
from sextant_plan.statistics.planning import false_pass_bound


@dataclass(frozen=True)
class Enforced:
    """A criterion with all that holds it; None where the plan does not ask for that enforcement.

    `rule` records the criterion's verdict by window, for `alerts` and for the trigger `retrain` to read. `looks` is how
    many models the sealed rows may judge.
    """

    criterion: Criterion
    canary: CanaryCriterion | None
    rule: Rule | None
    alerts: list[Alert]
    retrain: Alert | None
    policy: Retrain
    looks: int

    @property
    def gate(self) -> dict[str, Any] | None:
        """The gate's terms: the side, limit and bound, the confidence, and how many rows or requests it needs.

        `false_pass_at_most` bounds the chance that any model below the limit passes over the whole look budget.
        """
        criterion = self.criterion
        if Enforcement.GATE not in criterion.enforce:
            return None
        sealed = criterion.definition.step == "evaluate" and not criterion.definition.by_request
        return {
            "step": criterion.definition.step,
            "bound": criterion.bound,
            "side": "lower" if criterion.at_least is not None else "upper",
            "limit": criterion.limit,
            "unit": criterion.definition.unit,
            "confidence": criterion.confidence,
            "min_n": criterion.min_n,
            "false_pass_at_most": round(false_pass_bound(criterion.confidence, self.looks if sealed else 1), 12),
        }

    def as_json(self) -> dict[str, Any]:
        """Return the four enforcements as JSON values, each null where the plan does not ask for it."""
        recordings = [
            {"record": each.record, "expr": each.expression, "labels": each.labels}
            for each in (self.rule.recordings() if self.rule else [])
        ]
        return {
            "id": self.criterion.id,
            "requirement": self.criterion.requirement,
            "gate": self.gate,
            "canary": _canary_json(self.canary) if self.canary else None,
            "alert": {"alerts": [_alert_json(alert) for alert in self.alerts], "recordings": recordings}
            if self.alerts
            else None,
            "retrain": {
                **_alert_json(self.retrain),
                "n_of_last": list(self.policy.n_of_last),
                "cooldown": self.policy.cooldown,
                "recordings": recordings,
            }
            if self.retrain
            else None,
        }


def enforced_criteria(plan: Plan) -> list[Enforced]:
    """Return every criterion of a consistent plan with its enforcements, in the plan's order.

    Raises UsageError for an enforcement that cannot hold its criterion.
    """
    canaries = {each.criterion.id: each for each in canary_criteria(plan)}
    rules = {rule.criterion.id: rule for rule in compile_rules(plan) if rule.criterion is not None}
    triggers = {alert.labels["criterion"]: alert for alert in retrain_alerts(plan)}
    found = []
    for criterion in plan.criteria:
        rule = rules.get(criterion.id)
        alerts = rule.alerts() if rule is not None else []
        trigger = triggers.get(criterion.id)
        policy = plan.monitoring.retrain
        canary, looks = canaries.get(criterion.id), plan.evaluation.looks
        found.append(Enforced(criterion, canary, rule, alerts, trigger, policy, looks))
    return found


def _canary_json(canary: CanaryCriterion) -> dict[str, Any]:
    return {
        "test": str(canary.test),
        "requirement": canary.requirement,
        "limit": canary.limit,
        "misses": [_term_json(term.sign, term.selector.promql()) for term in canary.misses.terms],
        "rows": [_term_json(term.sign, term.selector.promql()) for term in canary.rows.terms],
        "by": canary.by,
        "alpha_fail": canary.alpha_fail,
        "alpha_pass": canary.alpha_pass,
        "min_n": canary.min_n,
    }


def _term_json(sign: int, selector: str) -> str:
    return selector if sign > 0 else f"- {selector}"


def _alert_json(alert: Alert) -> dict[str, Any]:
    return {
        "alert": alert.kind.alert,
        "expr": alert.expression,
        "for": alert.hold,
        "severity": str(alert.severity),
        "labels": alert.labels,
        "description": alert.description,
    }
