"""What a model at its limit is worth a day against the baseline, and when the labels are paid for."""

from __future__ import annotations

from sextant_components.feasibility.heading import Heading, Study
from sextant_plan.schema import Criterion, Economics
from sextant_plan.verdicts import Verdict

HOURS = 24


def assess(study: Study, economics: Economics) -> Heading:
    """Compare the model that only just meets the accuracy criterion with the baseline on the same rows.

    Without such a criterion the verdict is unknown: the plan does not say how good the model has to be.
    """
    labels, (_, answers) = study.labels, study.baseline
    right = sum(label == answer for label, answer in zip(labels, answers, strict=True)) / len(labels)
    rule = _daily(economics, right)
    value = {"currency": economics.currency, "baseline_accuracy": round(right, 6), "baseline_a_day": round(rule, 2)}
    limit = _promised_accuracy(study.plan.criteria)
    verdict = Verdict.UNKNOWN
    if limit is not None:
        model = _daily(economics, limit) - HOURS * economics.cost_per_serving_hour
        gain, labelling = model - rule, economics.cost_per_label * len(labels)
        value |= {
            "model_accuracy": limit,
            "model_a_day": round(model, 2),
            "gain_a_day": round(gain, 2),
            "labelling": round(labelling, 2),
            "days_to_break_even": round(labelling / gain, 2) if gain > 0 else None,
        }
        verdict = Verdict.PASS if gain > 0 else Verdict.FAIL
    return Heading(
        task="cost-benefit",
        requirement="a model that only just meets its accuracy criterion is worth more than the baseline",
        risk="the model costs more than it brings",
        qa_method="goal.economics at the criterion's limit and at the baseline's accuracy, less serving",
        value=value,
        verdict=verdict,
    )


def _daily(economics: Economics, accuracy: float) -> float:
    answer = accuracy * economics.value_per_correct - (1 - accuracy) * economics.cost_per_error
    return economics.predictions_per_day * answer


def _promised_accuracy(criteria: list[Criterion]) -> float | None:
    plain = [
        criterion.limit
        for criterion in criteria
        if criterion.metric == "accuracy" and criterion.slice is None and criterion.relative_to is None
    ]
    return max(plain, default=None)
