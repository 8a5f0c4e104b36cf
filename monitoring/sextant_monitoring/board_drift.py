"""The board of drift: effect and significance by feature, and the distributions behind them."""

from __future__ import annotations

from sextant_monitoring import queries as q
from sextant_monitoring.panels import Board, Panel, Row
from sextant_plan.alerts import AlertKind
from sextant_plan.drift_rule import DriftRule
from sextant_plan.rules import compile_rules
from sextant_plan.schema import Plan


def drift_board(plan: Plan) -> Board:
    """Return the board that tells whether inputs and answers still look like training."""
    rules = [rule for rule in compile_rules(plan) if isinstance(rule, DriftRule)]
    by_rule = (Row(f"{rule.criterion.id}: {rule.what}", _strength(rule)) for rule in rules)
    rows = (*by_rule, Row("Distributions", _distributions(plan.name)))
    return Board("drift", "Drift", "Do inputs and answers still look like training?", rows)


def _strength(rule: DriftRule) -> tuple[Panel, ...]:
    return (
        Panel(
            "Effect",
            "Stability index against training, corrected for the number of rows, in nats; the line is the limit.",
            "none",
            (q.feature_psi(rule),),
            limit=rule.criterion.limit,
            runbook=rule.kind,
        ),
        Panel(
            "Significance",
            "Standard errors of chi-square over its expectation without a shift; the line is where chance ends.",
            "none",
            (q.feature_significance(rule),),
            limit=round(rule.z, 3),
            runbook=rule.kind,
        ),
        Panel(
            "Chi-square",
            "Pearson's statistic against the training shares; without a shift it is about the bins less one.",
            "none",
            (q.feature_chi_square(rule),),
            runbook=rule.kind,
        ),
    )


def _distributions(model: str) -> tuple[Panel, ...]:
    live, training = q.bin_shares(model)
    return (
        Panel(
            "Live bins",
            "Share of the rows in each training bin.",
            "percentunit",
            (live,),
            runbook=AlertKind.INPUT_DRIFT,
        ),
        Panel(
            "Training bins",
            "Share of the training rows in each bin.",
            "percentunit",
            (training,),
            runbook=AlertKind.INPUT_DRIFT,
        ),
        Panel(
            "Answers by class",
            "Share of the rows that the model answered.",
            "percentunit",
            (q.classes(model),),
            runbook=AlertKind.PREDICTION_DRIFT,
        ),
    )
