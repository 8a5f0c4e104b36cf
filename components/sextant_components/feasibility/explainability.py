"""Can the model's answers be explained as far as its risk asks?"""

from __future__ import annotations

from sextant_components.feasibility.heading import Heading, Study, verdict_of


def assess(study: Study) -> Heading:
    """Check that an explanation is promised where the risk is not minimal, and that it fits the inputs."""
    plan = study.plan
    explanation, inputs = plan.evaluation.explanation, plan.model.inputs
    problems = []
    if explanation is None and plan.goal.risk_class != "minimal":
        problems.append(f"risk class {plan.goal.risk_class} and no evaluation.explanation")
    if explanation is not None and explanation.method == "occlusion" and inputs.image is None:
        problems.append("occlusion explains pictures and the model reads none")
    if explanation is not None and explanation.method == "permutation" and not (inputs.columns or inputs.features):
        problems.append("permutation explains columns and the model reads none")
    return Heading(
        task="feasibility: explainability",
        requirement="answers can be explained unless the risk is minimal, by a method that fits the inputs",
        risk="a person is owed a reason and nobody can give one",
        qa_method="evaluation.explanation against goal.risk_class and model.inputs",
        value={"method": explanation.method if explanation else None, "problems": problems},
        verdict=verdict_of(problems),
    )
