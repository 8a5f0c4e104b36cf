"""What a model at its limit is worth a day against the baseline, with an interval, and when its cost is paid for."""

from __future__ import annotations

import math

from sextant_components.planning.feasibility.heading import CONFIDENCE, Heading, Study
from sextant_plan.schema import Economics
from sextant_plan.types import DAY
from sextant_plan.verdicts import Estimate, Verdict, judge

HOURS = 24


def assess(study: Study, economics: Economics) -> Heading:
    """Compare the model that only just meets the accuracy criterion with the baseline on the same rows.

    The interval is the baseline's: its accuracy was seen on these rows alone. Without an accuracy criterion the
    verdict is unknown: the plan does not say how good the model has to be.
    """
    rule = study.baseline_accuracy
    value: dict[str, object] = {
        "currency": economics.currency,
        "baseline_accuracy": round(rule.value, 6),
        "baseline_a_day": round(daily_value(economics, rule.value), 2),
    }
    limit = study.promised_accuracy
    verdict = Verdict.UNKNOWN
    if limit is not None:
        serving, training = HOURS * economics.cost_per_serving_hour, _training_a_day(study, economics)
        model = daily_value(economics, limit) - serving - training
        gain = Estimate(
            model - daily_value(economics, rule.value),
            model - daily_value(economics, rule.high),
            model - daily_value(economics, rule.low),
            rule.n,
            rule.confidence,
        )
        spent = economics.cost_per_label * len(study.labels) + economics.cost_per_training
        value |= {
            "model_accuracy": limit,
            "model_a_day": round(model, 2),
            "serving_a_day": round(serving, 2),
            "training_a_day_at_most": round(training, 2),
            "gain_a_day": round(gain.value, 2),
            "gain_interval": [round(gain.low, 2), round(gain.high, 2)],
            "labelling_and_first_training": round(spent, 2),
            "days_to_break_even": [_days(spent, gain.high), _days(spent, gain.low)],
        }
        verdict = judge(gain, at_least=math.ulp(0.0), at_most=None, min_n=1)
    return Heading(
        task="cost-benefit",
        requirement="a model that only just meets its accuracy criterion is worth more than the baseline",
        risk="the model costs more than it brings",
        qa_method="goal.economics at the criterion's limit and at the baseline's accuracy (Clopper-Pearson at "
        f"{CONFIDENCE:g}), less serving and a training in every cooldown",
        value=value,
        verdict=verdict,
    )


def daily_value(economics: Economics, accuracy: float) -> float:
    """Return what a day's answers are worth at an accuracy, before any cost of running."""
    answer = accuracy * economics.value_per_correct - (1 - accuracy) * economics.cost_per_error
    return economics.predictions_per_day * answer


def _training_a_day(study: Study, economics: Economics) -> float:
    """Return the most that retraining costs a day: one training in each cooldown, and one a day without a cooldown."""
    cooldown = study.plan.monitoring.retrain.cooldown / DAY
    return economics.cost_per_training / max(cooldown, 1.0)


def _days(spent: float, gain: float) -> float | None:
    return round(spent / gain, 2) if gain > 0 else None
