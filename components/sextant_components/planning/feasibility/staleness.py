"""How fast a model would age: a quick model of the oldest rows, judged on ever later ones."""

from __future__ import annotations

import math
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from sextant_components.planning.feasibility.heading import CONFIDENCE, Heading, Study
from sextant_components.planning.feasibility.quick_models import ridge_answers
from sextant_components.planning.feasibility.representation import Sample, draw_sample
from sextant_plan.bounds import combined, proportion
from sextant_plan.types import DAY
from sextant_plan.verdicts import Estimate, Verdict

TRAINED = 0.5
PERIODS = 4
FEWEST_ROWS = 80  # ten a period
MOST_ROWS = 4000  # of which half are judged: a difference of 0.03 in accuracy is then told from none
TOLERATED_LOSS = 0.05  # of accuracy
CURVE_FILE = "staleness.json"


def assess(study: Study) -> Heading | None:
    """Measure the loss of accuracy a day on rows newer than those trained on; None if the rows have no times.

    Passes if the loss is proved to stay within the tolerance at the age that a criterion on `model_age_days` allows,
    or over the days seen where there is none. An age beyond the days seen is unknown: a trend need not go on. It
    informs, because the quick model is not the one that will be built.
    """
    column = study.plan.data.timestamp
    if column is None:
        return None
    sample = draw_sample(study, most=MOST_ROWS)
    times: list[datetime | None] = study.rows[column].to_list()
    dated = [place for place, row in enumerate(sample.rows) if times[row] is not None]
    days = np.asarray([moment.timestamp() / DAY for row in sample.rows if (moment := times[row]) is not None])
    order = np.argsort(days, kind="stable")
    if len(dated) < FEWEST_ROWS or days[order[_middle(len(order))]] == days.max():
        reason = f"fewer than {FEWEST_ROWS} rows with a time, or the later half has one time alone"
        return _heading({"rows": len(dated), "reason": reason}, Verdict.UNKNOWN, [])
    old, new = np.split(order, [_middle(len(order))])
    rows = np.asarray(dated)
    ages, right = days[new] - days[old].max(), _answered_right(sample, rows[old], rows[new])
    loss, apart = _loss(ages, right)
    seen, allowed = float(ages.max()), _allowed_age(study)
    until = seen if allowed is None else allowed
    most = max(0.0, loss.high) / apart * until
    value = {
        "trained_rows": len(old),
        "later_rows": len(new),
        "days_seen": round(seen, 3),
        "loss_a_day": {name: round(getattr(loss, name) / apart, 8) for name in ("value", "low", "high")},
        "age_allowed_days": allowed,
        "loss_at_most": round(most, 6),
        "days_supported": None if loss.high <= 0 else round(TOLERATED_LOSS * apart / loss.high, 1),
    }
    proved = most <= TOLERATED_LOSS and until <= seen
    return _heading(value, Verdict.PASS if proved else Verdict.UNKNOWN, _by_period(ages, right))


def _middle(rows: int) -> int:
    return round(TRAINED * rows)


def _answered_right(sample: Sample, train: NDArray[np.intp], test: NDArray[np.intp]) -> NDArray[np.bool_]:
    classes, codes = np.unique(sample.labels, return_inverse=True)
    said = ridge_answers(sample.matrix[train], codes[train], len(classes), sample.matrix[test])
    return np.asarray(said == codes[test])


def _loss(ages: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[Estimate, float]:
    """Return the accuracy of the younger half less that of the older half, and how many days lie between the two."""
    halves = np.array_split(np.arange(len(ages)), 2)
    young, old = (proportion(int(right[half].sum()), len(half), CONFIDENCE) for half in halves)
    return combined([(1.0, young), (-1.0, old)]), float(ages[halves[1]].mean() - ages[halves[0]].mean())


def _allowed_age(study: Study) -> float | None:
    """Return the least age that a criterion allows a model, in days; None where the plan has none."""
    limits = [each.limit for each in study.plan.criteria if each.metric == "model_age_days"]
    return min(limits, default=None)


def _by_period(ages: NDArray[np.float64], right: NDArray[np.bool_]) -> list[dict[str, float]]:
    """Return accuracy by age over periods of equally many rows, each bound at its share of the error."""
    confidence = 1 - (1 - CONFIDENCE) / PERIODS
    points = []
    for period in np.array_split(np.arange(len(ages)), PERIODS):
        found = proportion(int(right[period].sum()), len(period), confidence)
        age = math.fsum(ages[period]) / len(period)
        bounds = {"accuracy": found.value, "low": found.low, "high": found.high}
        points.append({"age_days": round(age, 3), "rows": len(period)} | {k: round(v, 6) for k, v in bounds.items()})
    return points


def _heading(value: dict[str, object], verdict: Verdict, points: list[dict[str, float]]) -> Heading:
    return Heading(
        task="feasibility: staleness",
        requirement=f"a model loses at most {TOLERATED_LOSS:g} of accuracy by the age that the plan allows it",
        risk="nobody knows how old a model may become, so it is replaced too late or for nothing",
        qa_method=f"ridge regression on the oldest {TRAINED:.0%} of the rows, judged on later ones; accuracy of the "
        "younger half less the older half's (MOVER over Clopper-Pearson) by the days between; it informs",
        value=value,
        verdict=verdict,
        counts=False,
        tables={CURVE_FILE: points} if points else {},
    )
