"""Can the model's answers be explained as far as its risk asks?"""

from __future__ import annotations

import time

import numpy as np

from sextant_components.modelling.explanation import occlusion_map, permutation_importance
from sextant_components.planning.feasibility.heading import Heading, Study, verdict_of
from sextant_components.planning.feasibility.stand_in import stand_in
from sextant_plan.schema import Explanation, Plan


def assess(study: Study) -> Heading:
    """Check that an explanation is promised where the risk asks, fits the inputs, and can be had in time."""
    plan = study.plan
    explanation, inputs = plan.evaluation.explanation, plan.model.inputs
    problems = []
    if explanation is None and plan.goal.risk_class != "minimal":
        problems.append(f"risk class {plan.goal.risk_class} and no evaluation.explanation")
    if explanation is not None and explanation.method == "occlusion" and inputs.image is None:
        problems.append("occlusion explains pictures and the model reads none")
    if explanation is not None and explanation.method == "integrated-gradients" and _only_trees(plan):
        problems.append("integrated-gradients needs a network and every candidate is trees")
    if explanation is not None and explanation.method == "permutation" and not (inputs.columns or inputs.features):
        problems.append("permutation explains columns and the model reads none")
    if explanation is not None and not problems and _seconds(study, explanation) > explanation.budget:
        problems.append(f"{explanation.method} takes longer than {explanation.budget:g} s for one dense layer already")
    return Heading(
        task="feasibility: explainability",
        requirement="answers can be explained unless the risk is minimal, by a method that fits inputs and budget",
        risk="a person is owed a reason and nobody can give one",
        qa_method="evaluation.explanation against goal.risk_class and model.inputs; timed with a network of one dense "
        "layer, less work than any candidate",
        value={"method": explanation.method if explanation else None, "problems": problems},
        verdict=verdict_of(problems),
    )


def _only_trees(plan: Plan) -> bool:
    from sextant_serving.architectures import GRADIENT_BOOSTING

    return all(candidate.architecture == GRADIENT_BOOSTING for candidate in plan.model.candidates)


def _seconds(study: Study, explanation: Explanation) -> float:
    """Return how long one explanation of the stand-in network takes, in seconds."""
    inputs = study.plan.model.inputs
    columns = np.zeros((1, len(inputs.columns) + len(inputs.features)), dtype=np.float32)
    if explanation.method == "integrated-gradients":
        return 0.0  # the stand-in has no gradients to time
    rows = 1 if explanation.method == "occlusion" else round(study.plan.evaluation.sealed_split * study.rows.height)
    arrays = {"features": np.repeat(columns, rows, axis=0)} if columns.size else {}
    if inputs.image is not None:
        shape = (rows, inputs.image.height, inputs.image.width, inputs.image.channels)
        arrays["image"] = np.full(shape, 127, dtype=np.uint8)
    run = stand_in(study.plan, classes=len(set(study.labels)) or 1)
    start = time.perf_counter()
    if explanation.method == "occlusion":
        occlusion_map(run, arrays)
    else:
        permutation_importance(run, arrays, np.zeros(rows, dtype=np.int64 if study.labels else np.float64))
    return time.perf_counter() - start
