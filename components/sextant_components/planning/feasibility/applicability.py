"""Is machine learning the right tool: can the label be learned, and does the goal's rule not suffice already?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sextant_components.data.table_files import as_text
from sextant_components.data.tables import stored_name
from sextant_components.modelling.baseline import FittedBaseline
from sextant_components.planning.feasibility.heading import CONFIDENCE, Heading, Study
from sextant_components.planning.feasibility.quick_models import neighbours_right, ridge_right
from sextant_plan.bounds import proportion
from sextant_plan.catalogue import Kind
from sextant_plan.schema import Criterion
from sextant_plan.verdicts import Estimate, Verdict, judge


def assess(study: Study) -> Heading:
    """Compare two quick models, each row left out in turn, with the majority class on a sample."""
    labels, matrix = study.sample.labels, study.sample.matrix
    majority = max(Counter(labels).values()) / len(labels)
    # Two models are tried, so each bound holds at half the error.
    confidence = 1 - (1 - CONFIDENCE) / 2
    right = {name: int(np.count_nonzero(model(matrix, labels))) for name, model in _MODELS.items()}
    bounds = {name: proportion(count, len(labels), confidence) for name, count in right.items()}
    learnable = any(bound.low > majority for bound in bounds.values())
    return Heading(
        task="feasibility: applicability",
        requirement="the inputs tell of the label: a quick model beats the majority class",
        risk="the inputs know nothing of the label and no model will",
        qa_method="nearest neighbours and ridge regression on a sample, each row left out; Clopper-Pearson bound",
        value={
            "rows": len(labels),
            "majority": round(majority, 6),
            "accuracy": {name: round(bound.value, 6) for name, bound in bounds.items()},
            "bound": {name: round(bound.low, 6) for name, bound in bounds.items()},
        },
        verdict=Verdict.PASS if learnable else Verdict.UNKNOWN,
    )


def assess_baseline(study: Study) -> Heading:
    """Judge the goal's baseline by every ML criterion; where it meets them all, there is nothing to build."""
    labels, (baseline, answers) = study.labels, study.baseline
    criteria = [criterion for criterion in study.plan.criteria if criterion.definition.kind is Kind.ML]
    met = {criterion.id: _meets(study, criterion, labels, answers) for criterion in criteria}
    return Heading(
        task="feasibility: baseline",
        requirement="the goal's baseline does not meet every ML criterion already",
        risk="a model is built and run where a rule would do",
        qa_method="the baseline answers every row of the source and is judged as a model would be",
        value=_baseline_value(baseline, labels, answers)
        | {"meets": {name: str(verdict) for name, verdict in met.items()}},
        verdict=Verdict.FAIL if met and set(met.values()) == {Verdict.PASS} else Verdict.PASS,
    )


def _baseline_value(baseline: FittedBaseline, labels: Sequence[str], answers: Sequence[str]) -> dict[str, object]:
    accuracy = sum(label == answer for label, answer in zip(labels, answers, strict=True)) / len(labels)
    return {"baseline": baseline.describe(), "rows": len(labels), "accuracy": round(accuracy, 6)}


def _meets(study: Study, criterion: Criterion, labels: Sequence[str], answers: Sequence[str]) -> Verdict:
    estimate = _estimate(study, criterion, labels, answers)
    return judge(estimate, at_least=criterion.at_least, at_most=criterion.at_most, min_n=criterion.min_n)


def _estimate(study: Study, criterion: Criterion, labels: Sequence[str], answers: Sequence[str]) -> Estimate | None:
    """Return the criterion's metric of fixed answers; None for a metric that they do not have."""
    right = np.asarray([label == answer for label, answer in zip(labels, answers, strict=True)])
    if criterion.relative_to == "baseline":
        return Estimate(0.0, 0.0, 0.0, len(labels), criterion.confidence)
    if criterion.relative_to is not None:
        return None
    if criterion.metric == "accuracy":
        column, equals, value = (criterion.slice or "").partition("=")
        if equals:
            right = right[
                (as_text(study.rows[stored_name(study.plan, column)]) == value).fill_null(value=False).to_numpy()
            ]
        return proportion(int(right.sum()), len(right), criterion.confidence)
    if criterion.metric == "calibration_error":  # a rule that is always certain errs in confidence where it errs
        return proportion(int((~right).sum()), len(right), criterion.confidence)
    if criterion.metric == "recall_min":
        recalls = [
            proportion(int(right[own].sum()), int(own.sum()), criterion.confidence)
            for own in (np.asarray(labels) == label for label in set(labels))
        ]
        return min(recalls, key=lambda recall: recall.low)
    if criterion.metric == "macro_f1":
        score = _macro_f1(np.asarray(labels), np.asarray(answers))
        return Estimate(score, score, score, len(labels), criterion.confidence)
    return None


def _macro_f1(labels: NDArray[np.str_], answers: NDArray[np.str_]) -> float:
    scores = []
    for label in np.unique(labels):
        true, said = labels == label, answers == label
        scores.append(2 * np.count_nonzero(true & said) / (np.count_nonzero(true) + np.count_nonzero(said)))
    return float(np.mean(scores))


_MODELS = {"neighbours": neighbours_right, "ridge": ridge_right}
