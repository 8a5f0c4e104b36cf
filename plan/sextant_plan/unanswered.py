"""What `sextant init` leaves for a person to say: until somebody has, the plan does not answer."""

from __future__ import annotations

from sextant_plan.schema import Plan

YOUR_TEAM, YOUR_NAME = "your-team", "your-name"
BUSINESS = "Say what gets better, for whom, and how you would notice."
WHY_ML = "Say why a rule written by hand does not do."
CONSENT = "Say why this data may be used."

NOT_ANSWERED = "Not answered: the plan still says what sextant init wrote"
NOBODY = "nobody named yet"


def unanswered(plan: Plan) -> list[str]:
    """Return the keys under which the plan still says what `init` wrote for the user to replace."""
    said = {
        "owner.team": plan.owner.team == YOUR_TEAM,
        "owner.approvers": YOUR_NAME in plan.owner.approvers,
        "goal.business": plan.goal.business == BUSINESS,
        "goal.why_ml": plan.goal.why_ml == WHY_ML,
        "data.consent.basis": plan.data.consent.basis == CONSENT,
    }
    return [key for key, still in said.items() if still]


def with_gaps_named(plan: Plan) -> Plan:
    """Return the plan as it may be quoted: where it does not answer, it says so."""
    gaps = unanswered(plan)
    if not gaps:
        return plan
    owner, goal, consent = plan.owner, plan.goal, plan.data.consent
    if "owner.team" in gaps:
        owner = owner.model_copy(update={"team": NOBODY})
    if "owner.approvers" in gaps:
        named = [NOBODY if name == YOUR_NAME else name for name in owner.approvers]
        owner = owner.model_copy(update={"approvers": named})
    silent = {key.partition(".")[2]: NOT_ANSWERED for key in ("goal.business", "goal.why_ml") if key in gaps}
    goal = goal.model_copy(update=silent)
    if "data.consent.basis" in gaps:
        consent = consent.model_copy(update={"basis": NOT_ANSWERED})
    data = plan.data.model_copy(update={"consent": consent})
    return plan.model_copy(update={"owner": owner, "goal": goal, "data": data})
