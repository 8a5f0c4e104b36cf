"""The board of data: what is wrong with inputs, and how old features are."""

from __future__ import annotations

from sextant_monitoring import queries as q
from sextant_monitoring.panels import Board, Panel, Row
from sextant_plan.alerts import AlertKind
from sextant_plan.schema import Plan


def data_board(plan: Plan) -> Board:
    """Return the board that tells whether what comes in is complete and fresh."""
    rows = (Row("Inputs", _inputs(plan.name)), Row("Features", _features(plan.name)))
    return Board("data", "Data and features", "Is what comes in complete and fresh?", rows)


def _inputs(model: str) -> tuple[Panel, ...]:
    return (
        Panel(
            "Missing and unknown",
            "Share of rows with a missing value, or a category that training never saw.",
            "percentunit",
            (q.flawed_rows(model),),
            runbook=AlertKind.INPUTS_FLAWED,
        ),
        Panel(
            "Refused and failed",
            "Inference requests a second, by code.",
            "reqps",
            (q.requests(model),),
            runbook=AlertKind.CLIENT_ERRORS,
        ),
        Panel(
            "Rows by fallback",
            "Rows a second that were not answered by the model alone.",
            "cps",
            (q.fallbacks(model),),
            runbook=AlertKind.COVERAGE_LOW,
        ),
    )


def _features(model: str) -> tuple[Panel, ...]:
    return (
        Panel(
            "Age of the features",
            "Since the newest event that the online store answered with, by view.",
            "s",
            (q.feature_age(model),),
            runbook=AlertKind.FEATURES_STALE,
        ),
        Panel(
            "Stale and absent",
            "Share of the rows looked up whose features were past the view's time to live, or not in the store.",
            "percentunit",
            (q.unusable_features(model),),
            runbook=AlertKind.FEATURES_STALE,
        ),
        Panel(
            "Feature lookup",
            "99th percentile of a batch.",
            "s",
            (q.feature_time(model),),
            runbook=AlertKind.FAILURE_LASTING,
        ),
    )
