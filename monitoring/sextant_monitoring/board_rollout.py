"""The board of a rollout: the versions side by side on the same axes, and what the controller does."""

from __future__ import annotations

from sextant_monitoring import queries as q
from sextant_monitoring.panels import Board, Panel, Row
from sextant_plan.alerts import AlertKind
from sextant_plan.schema import Plan


def rollout_board(plan: Plan) -> Board:
    """Return the board that tells whether a new version is as good as the one in service."""
    rows = (Row("Traffic", _traffic(plan.name)), Row("Canary against stable", _evidence(plan)))
    return Board("rollout", "Rollout", "Is the new version as good as the one in service?", rows)


def _traffic(model: str) -> tuple[Panel, ...]:
    return (
        Panel(
            "Weight asked",
            "Share of requests that the controller asks for the canary.",
            "percent",
            (q.rollout_weight(model),),
        ),
        Panel("Share carried", "What the routes really give each version.", "percentunit", (q.traffic_share(model),)),
        Panel("Phase", "The phase that the rollout is in.", "none", (q.rollout_phase(model),), kind="stat"),
    )


def _evidence(plan: Plan) -> tuple[Panel, ...]:
    model = plan.name
    return (
        Panel(
            "Errors",
            "Share of requests answered with a 5xx code, by version.",
            "percentunit",
            (q.error_share(model),),
            runbook=AlertKind.ERRORS_HIGH,
        ),
        Panel(
            "Time",
            "Median and 99th percentile by version; the line is the plan's limit.",
            "s",
            q.request_time(model),
            limit=plan.serving.latency_slo_ms / 1000,
            runbook=AlertKind.LATENCY_HIGH,
        ),
        Panel(
            "Labels in agreement",
            "Share of labels that agree with the prediction, by version.",
            "percentunit",
            (q.agreement(model),),
            runbook=AlertKind.QUALITY_LOW,
        ),
        Panel(
            "Answers by class",
            "Share of the rows that each version answered.",
            "percentunit",
            (q.classes(model),),
            runbook=AlertKind.PREDICTION_DRIFT,
        ),
    )
