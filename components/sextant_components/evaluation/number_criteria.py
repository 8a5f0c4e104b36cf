"""The criteria of the `evaluate` step on answers that are numbers: which evidence answers which metric."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sextant_components.evaluation.criteria import Answer, Evidence, gap_between, rows_of
from sextant_components.evidence import number_metrics
from sextant_components.evidence.gates import Settled
from sextant_components.evidence.number_metrics import NumberAnswers
from sextant_plan.bounds import mean, share
from sextant_plan.schema import Criterion
from sextant_plan.verdicts import Estimate


def _of_rows(metric: Callable[[NumberAnswers, float], Estimate]) -> Answer:
    def answer(criterion: Criterion, evidence: Evidence) -> Estimate | Settled:
        rows = rows_of(criterion, evidence)
        return rows if isinstance(rows, Settled) else metric(_numbers(evidence).take(rows), criterion.confidence)

    return answer


def _mae(criterion: Criterion, evidence: Evidence) -> Estimate | Settled:
    """Return the mean absolute error, or how much larger it is than the baseline's or the champion's."""
    rows = rows_of(criterion, evidence)
    if isinstance(rows, Settled):
        return rows
    if criterion.relative_to is None:
        return number_metrics.mae(_numbers(evidence).take(rows), criterion.confidence)
    other = evidence.others[criterion.relative_to]
    if isinstance(other, Settled):
        return other
    own = _numbers(evidence).take(rows)
    return mean(np.abs(own.errors) + other[rows], criterion.confidence, own.groups)


def _mae_gap(evidence: Evidence, values: list[str], confidence: float) -> Estimate:
    return number_metrics.mae_gap(_numbers(evidence), values, confidence)


def _coverage(criterion: Criterion, evidence: Evidence) -> Estimate | Settled:
    """Return the share of rows with an answer: the model itself never abstains from a number."""
    answered = np.ones(len(evidence.answers.labels), dtype=np.bool_)
    return share(answered, criterion.confidence, evidence.answers.groups)


def _numbers(evidence: Evidence) -> NumberAnswers:
    assert isinstance(evidence.answers, NumberAnswers)
    return evidence.answers


ANSWERS: dict[str, Answer] = {
    "mae": _mae,
    "rmse": _of_rows(number_metrics.rmse),
    "mae_gap": gap_between(_mae_gap),
    "r_squared": _of_rows(number_metrics.r_squared),
    "coverage": _coverage,
}
