"""Is machine learning the right tool where the label is a number: can it be learned, and does a rule not suffice?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sextant_components.data.table_files import as_text
from sextant_components.data.tables import stored_name
from sextant_components.evidence import number_metrics
from sextant_components.evidence.number_metrics import NumberAnswers
from sextant_components.planning.feasibility.heading import CONFIDENCE, Heading, Study
from sextant_components.planning.feasibility.quick_models import ridge_left_out
from sextant_plan.catalogue import Kind
from sextant_plan.schema import Criterion
from sextant_plan.verdicts import Estimate, Verdict, judge

_METRICS: dict[str, Callable[[NumberAnswers, float], Estimate]] = {
    "mae": number_metrics.mae,
    "rmse": number_metrics.rmse,
    "r_squared": number_metrics.r_squared,
}


def assess(study: Study) -> Heading:
    """Compare ridge regression, each row left out in turn, with the mean on a sample."""
    labels = study.numbers[study.sample.rows]
    answers = NumberAnswers(ridge_left_out(study.sample.matrix, labels), labels)
    found = number_metrics.r_squared(answers, CONFIDENCE)
    return Heading(
        task="feasibility: applicability",
        requirement="the inputs tell of the label: a quick model explains some of its variance",
        risk="the inputs know nothing of the label and no model will",
        qa_method="ridge regression on a sample, each row left out (Allen 1974); bootstrap bound of R squared",
        value={"rows": found.n, "r_squared": round(found.value, 6), "bound": round(found.low, 6)},
        verdict=Verdict.PASS if found.low > 0 else Verdict.UNKNOWN,
    )


def assess_baseline(study: Study) -> Heading:
    """Judge the goal's baseline by every ML criterion; where it meets them all, there is nothing to build."""
    baseline, said = study.baseline
    answers = NumberAnswers(np.asarray(said, dtype=np.float64), study.numbers)
    criteria = [criterion for criterion in study.plan.criteria if criterion.definition.kind is Kind.ML]
    met = {criterion.id: _meets(study, criterion, answers) for criterion in criteria}
    error = number_metrics.mae(answers, CONFIDENCE)
    return Heading(
        task="feasibility: baseline",
        requirement="the goal's baseline does not meet every ML criterion already",
        risk="a model is built and run where a rule would do",
        qa_method="the baseline answers every row of the source and is judged as a model would be",
        value={
            "baseline": baseline.describe(),
            "rows": error.n,
            "mae": round(error.value, 6),
            "meets": {name: str(verdict) for name, verdict in met.items()},
        },
        verdict=Verdict.FAIL if met and set(met.values()) == {Verdict.PASS} else Verdict.PASS,
    )


def _meets(study: Study, criterion: Criterion, answers: NumberAnswers) -> Verdict:
    estimate: Estimate | None = None
    if criterion.relative_to == "baseline":
        estimate = Estimate(0.0, 0.0, 0.0, len(answers.labels), criterion.confidence)
    elif criterion.relative_to is None and criterion.metric in _METRICS:
        estimate = _METRICS[criterion.metric](answers.take(_rows(study, criterion)), criterion.confidence)
    return judge(estimate, at_least=criterion.at_least, at_most=criterion.at_most, min_n=criterion.min_n)


def _rows(study: Study, criterion: Criterion) -> NDArray[np.bool_]:
    column, equals, value = (criterion.slice or "").partition("=")
    if not equals:
        return np.ones(study.rows.height, dtype=np.bool_)
    matches = as_text(study.rows[stored_name(study.plan, column)]) == value
    return matches.fill_null(value=False).to_numpy()
