"""The board of quality: what delayed labels say, how many there are, and what stands in until they come."""

from __future__ import annotations

from sextant_monitoring import queries as q
from sextant_monitoring.panels import Board, Panel, Row
from sextant_monitoring.quality import quality_criteria
from sextant_plan.alerts import AlertKind
from sextant_plan.bias_rule import BiasRule
from sextant_plan.rules import compile_rules
from sextant_plan.schema import Plan


def quality_board(plan: Plan) -> Board:
    """Return the board that tells whether the model is still right."""
    by_label = _by_label(plan)
    rows = (
        *([Row("By labels", by_label)] if by_label else []),
        Row("Labels", _labels(plan)),
        Row("Until labels come", _until(plan)),
    )
    return Board("quality", "Quality", "Is the model still right?", rows)


def _by_label(plan: Plan) -> tuple[Panel, ...]:
    return tuple(
        Panel(
            f"{each.id}: by joined labels",
            f"{each.requirement}, with its bounds at {each.confidence:g} confidence; the line is the limit.",
            "percentunit" if each.definition.unit == "share" else "none",
            (q.quality(each, plan.name),),
            limit=each.limit,
            runbook=AlertKind.QUALITY_LOW,
        )
        for each in quality_criteria(plan)
    )


def _labels(plan: Plan) -> tuple[Panel, ...]:
    model = plan.name
    return (
        Panel(
            "Join rate",
            "Share of due predictions that have a label; below the line quality is unknown.",
            "percentunit",
            (q.label_join(model),),
            limit=plan.monitoring.labels.join_at_least,
            runbook=AlertKind.LABELS_MISSING,
        ),
        Panel(
            "Labelled rows",
            "Rows behind each figure of the last due window.",
            "none",
            (q.quality_rows(model),),
            runbook=AlertKind.LABELS_MISSING,
        ),
        Panel(
            "Labels received",
            "Labels a second, by agreement; unmatched ones find no prediction.",
            "cps",
            (q.feedback(model),),
            runbook=AlertKind.LABELS_MISSING,
        ),
        Panel(
            "Ratings",
            "What users think of the answers, from 1 to 5; ratings a second.",
            "cps",
            (q.ratings(model),),
            runbook=AlertKind.USERS_DISSATISFIED,
        ),
    )


def _until(plan: Plan) -> tuple[Panel, ...]:
    of_classes = (*_classes(plan.name), *_bias(plan)) if plan.model.answers == "class" else ()
    return (*of_classes, _ageing(plan))


def _classes(model: str) -> tuple[Panel, ...]:
    return (
        Panel(
            "Expected accuracy",
            "Mean probability of the answered class; right only while the model is calibrated.",
            "percentunit",
            (q.expected_accuracy(model),),
        ),
        Panel(
            "Prediction bias",
            "Predicted share of a class less its labelled share.",
            "percentunit",
            (q.prediction_bias(model),),
            runbook=AlertKind.PREDICTION_BIAS,
        ),
    )


def _bias(plan: Plan) -> tuple[Panel, ...]:
    return tuple(
        Panel(
            f"{rule.criterion.id}: size of the bias",
            "Of each class, against the labels where there are enough, and against the training rows; the line is the "
            "limit.",
            "percentunit",
            (q.bias_size(rule),),
            limit=rule.criterion.limit,
            runbook=AlertKind.PREDICTION_BIAS,
        )
        for rule in compile_rules(plan)
        if isinstance(rule, BiasRule)
    )


def _ageing(plan: Plan) -> Panel:
    staleness = plan.evaluation.staleness
    return Panel(
        "Lost to age",
        "Accuracy that the model's age has cost by the staleness curve of its evaluation, with one-sided bounds; the "
        "line is evaluation.staleness.tolerated_loss.",
        "percentunit",
        (q.lost_to_age(plan.name),),
        limit=staleness.tolerated_loss if staleness is not None else None,
        runbook=AlertKind.MODEL_OLD,
    )
