"""The overview: the verdict of every criterion by phase, then each value with its limit."""

from __future__ import annotations

from sextant_monitoring import queries as q
from sextant_monitoring.panels import Board, Panel, Row
from sextant_plan.alerts import AlertKind, Rule
from sextant_plan.bias_rule import BiasRule
from sextant_plan.catalogue import Kind
from sextant_plan.drift_rule import DriftRule
from sextant_plan.quality_rule import QualityRule
from sextant_plan.rules import compile_rules, objective_rules
from sextant_plan.schema import Plan
from sextant_plan.share_rule import ShareRule
from sextant_plan.threshold_rule import ThresholdRule

PHASES: dict[str, tuple[Kind, ...]] = {
    "Planning: what the business asks for": (Kind.BUSINESS, Kind.ECONOMIC),
    "Data": (Kind.DATA,),
    "Model and evaluation": (Kind.ML, Kind.FAIRNESS, Kind.ROBUSTNESS),
    "Deployment": (Kind.LATENCY, Kind.RELIABILITY),
    "Monitoring": (Kind.DRIFT,),
}
"""The phases of CRISP-ML(Q) and the kinds of criteria that each answers for."""


def overview_board(plan: Plan) -> Board:
    """Return the board that tells in one look whether the plan holds: verdicts first, by phase."""
    rules = [rule for rule in compile_rules(plan) if rule.criterion is not None]
    rows = [Row("Now", _now(plan))]
    for phase, kinds in PHASES.items():
        of_phase = [rule for rule in rules if rule.criterion and rule.criterion.definition.kind in kinds]
        if of_phase:
            rows.append(Row(phase, tuple(verdict_panel(rule) for rule in of_phase)))
    rows.append(Row("Criteria and their limits", tuple(value_panel(rule) for rule in rules)))
    return Board("overview", "Overview", f"{plan.goal.business} Owner: {plan.owner.team}.", tuple(rows))


def _now(plan: Plan) -> tuple[Panel, ...]:
    model = plan.name
    left = tuple(
        Panel(
            f"Budget left: {rule.objective}",
            f"Of what the plan allows: {rule.requirement}. Below 0 the promise is broken.",
            "percentunit",
            (q.budget_left(rule),),
            kind="stat",
            runbook=AlertKind.BUDGET_BURNING,
        )
        for rule in objective_rules(plan)
    )
    return (
        Panel(
            "Alerts", "Alerts of the plan that are firing, by severity.", "none", (q.alerts_firing(model),), kind="stat"
        ),
        Panel(
            "Ready servers",
            "How many scraped servers are ready.",
            "none",
            (q.ready(model),),
            kind="stat",
            runbook=AlertKind.NO_READY_SERVER,
        ),
        Panel("Requests", "Inference requests a second, by code.", "reqps", (q.requests(model),), kind="stat"),
        *left,
        Panel(
            "Age of the model",
            "Since the bundle was sealed.",
            "s",
            (q.model_age(model),),
            kind="stat",
            runbook=AlertKind.MODEL_OLD,
        ),
    )


def verdict_panel(rule: Rule) -> Panel:
    """Return the panel that says pass, unknown or fail of a criterion, the worst target counting."""
    assert rule.criterion is not None
    return Panel(
        rule.criterion.id,
        f"Wanted: {rule.requirement}. Proved: pass; proved otherwise: fail; too little evidence: unknown.",
        "none",
        (q.verdict(rule),),
        kind="verdict",
        runbook=runbook_of(rule),
    )


def value_panel(rule: Rule) -> Panel:
    """Return the panel of a criterion's measured value with its limit drawn."""
    assert rule.criterion is not None
    limit, what = rule.criterion.limit, rule.criterion.definition.description.rstrip(".")
    if isinstance(rule, ShareRule):
        limit, what = rule.limit, rule.what
    share = isinstance(rule, ShareRule) or rule.criterion.definition.unit == "share"
    return Panel(
        f"{rule.criterion.id}: {what}",
        f"The plan asks for {rule.requirement}; the line is the limit.",
        "percentunit" if share else "celsius" if rule.criterion.definition.unit == "degrees" else "none",
        (q.value(rule),),
        limit=limit,
        runbook=runbook_of(rule),
    )


def runbook_of(rule: Rule) -> AlertKind | None:
    """Return the alert whose runbook helps when the rule fails; None for one that wakes nobody."""
    return rule.kind if isinstance(rule, ShareRule | DriftRule | BiasRule | QualityRule | ThresholdRule) else None
