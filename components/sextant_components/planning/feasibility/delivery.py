"""Phased delivery: the steps from today's rule to full service, what guards each and what each is worth."""

from __future__ import annotations

from typing import Any

from sextant_components.planning.feasibility.cost_benefit import daily_value
from sextant_components.planning.feasibility.heading import Heading, Study
from sextant_plan.schema import Plan
from sextant_plan.verdicts import Verdict


def assess(study: Study) -> Heading:
    """List the phases of the plan; it informs, and is unknown where a version takes over at once and never abstains."""
    phases = _phases(study.plan, study)
    guarded = len(phases) > 2 or study.plan.serving.fallback.abstain_below > 0
    return Heading(
        task="phased delivery",
        requirement="between the baseline and full service stands a phase that can be stopped at little cost",
        risk="everything is staked on one large release",
        qa_method="rollout, fallback and economics of the plan; value at the share of traffic of each phase",
        value={"phases": phases},
        verdict=Verdict.PASS if guarded else Verdict.UNKNOWN,
        counts=False,
    )


def _phases(plan: Plan, study: Study) -> list[dict[str, Any]]:
    baseline = plan.goal.baseline
    phases: list[dict[str, Any]] = [
        {"phase": f"baseline: {baseline.entrypoint or baseline.kind}", "traffic": 0.0, "guard": "in use today"}
    ]
    if plan.rollout.strategy == "shadow":
        phases.append({"phase": "shadow", "traffic": 0.0, "guard": "answers are compared and not used"})
    elif plan.rollout.strategy != "immediate":
        phases += [
            {"phase": f"{plan.rollout.strategy} at {step} %", "traffic": step / 100, "guard": "rollout criteria"}
            for step in plan.rollout.steps[:-1]
        ]
    abstain = plan.serving.fallback.abstain_below
    guard = f"abstains below a confidence of {abstain:g}" if abstain > 0 else "the plan's alerts"
    phases.append({"phase": "full service", "traffic": 1.0, "guard": guard})
    limit, economics = study.promised_accuracy, plan.goal.economics
    if economics is not None and limit is not None:
        rule, model = daily_value(economics, study.baseline_accuracy.value), daily_value(economics, limit)
        for phase in phases:
            phase["value_a_day"] = round((1 - phase["traffic"]) * rule + phase["traffic"] * model, 2)
    return phases
