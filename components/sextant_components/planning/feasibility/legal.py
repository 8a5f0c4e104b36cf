"""May the data be used, and is what the model may do to people looked at?"""

from __future__ import annotations

from sextant_components.planning.feasibility.heading import Heading, Study, verdict_of
from sextant_plan.catalogue import Kind
from sextant_plan.schema import Plan
from sextant_plan.verdicts import Verdict

TWO_PAIRS_OF_EYES = 2
GAPS = {"class": "accuracy_gap", "number": "mae_gap"}  # the metric of fairness by what the model answers with


def assess(study: Study) -> Heading:
    """Check licence, consent, sensitive columns and what the risk class asks for."""
    plan = study.plan
    problems = [*_right_to_use(plan), *_unjudged_sensitive(plan), *_risk_duties(plan)]
    unseen = [name for name in plan.data.sensitive if not _looked_at(plan, name)]
    verdict = verdict_of(problems)
    if verdict is Verdict.PASS and unseen:
        verdict = Verdict.UNKNOWN
    return Heading(
        task="feasibility: legal and ethics",
        requirement="the data may be used, and harm to people is judged as the risk class asks",
        risk="the product must be withdrawn, or wrongs people unseen",
        qa_method="licence, consent, sensitive columns against inputs and criteria, duties of the risk class",
        value={
            "licence": plan.data.licence.name,
            "personal_data": plan.data.consent.personal_data,
            "risk_class": plan.goal.risk_class,
            "problems": problems,
            "sensitive_never_looked_at": unseen,
        },
        verdict=verdict,
    )


def _right_to_use(plan: Plan) -> list[str]:
    problems = []
    if not plan.data.licence.allows_training:
        problems.append("data.licence does not allow training")
    if not plan.data.consent.basis.strip():
        problems.append("data.consent states no basis")
    return problems


def _unjudged_sensitive(plan: Plan) -> list[str]:
    """Return a problem for each sensitive column that the model reads and no fairness criterion judges."""
    judged = {criterion.slice for criterion in plan.criteria if criterion.definition.kind is Kind.FAIRNESS}
    read = set(plan.model.inputs.columns) | {name.partition(":")[2] for name in plan.model.inputs.features}
    return [
        f"the model reads the sensitive column {name} and no {GAPS[plan.model.answers]} criterion judges it"
        for name in plan.data.sensitive
        if name in read and name not in judged
    ]


def _looked_at(plan: Plan, column: str) -> bool:
    sliced = {(criterion.slice or "").partition("=")[0] for criterion in plan.criteria}
    return column in sliced or column in plan.evaluation.slices


def _risk_duties(plan: Plan) -> list[str]:
    problems = []
    if plan.goal.risk_class != "minimal" and not plan.goal.societal_impact.strip():
        problems.append(f"risk class {plan.goal.risk_class} and no goal.societal_impact")
    if plan.data.consent.personal_data and not plan.goal.societal_impact.strip():
        problems.append("personal data and no goal.societal_impact")
    if plan.goal.risk_class == "high" and len(plan.owner.approvers) < TWO_PAIRS_OF_EYES:
        problems.append("risk class high and a single approver")
    return problems
