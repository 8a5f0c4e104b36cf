"""The board of the service: requests and their time, objectives, saturation, and the golden-request probe."""

from __future__ import annotations

from sextant_monitoring import queries as q
from sextant_monitoring.panels import Board, Panel, Row
from sextant_plan.alerts import AlertKind
from sextant_plan.rules import objective_rules
from sextant_plan.schema import Plan


def serving_board(plan: Plan) -> Board:
    """Return the board that tells whether the service is fast, up and unsaturated."""
    rows = (
        Row("Requests", _requests(plan)),
        Row("Objectives", _objectives(plan)),
        Row("Saturation", _saturation(plan.name)),
        Row("Answers", _answers(plan)),
    )
    return Board("serving", "Serving", "Is the service fast, up and unsaturated?", rows)


def _requests(plan: Plan) -> tuple[Panel, ...]:
    model = plan.name
    return (
        Panel(
            "Requests by code",
            "Inference requests a second.",
            "reqps",
            (q.requests(model),),
            runbook=AlertKind.ERRORS_HIGH,
        ),
        Panel(
            "Request time",
            "Median and 99th percentile between the histogram's edges; the line is serving.latency_slo_ms.",
            "s",
            q.request_time(model),
            limit=_slowest(plan),
            runbook=AlertKind.LATENCY_HIGH,
        ),
        Panel(
            "Ready servers",
            "How many scraped servers are ready.",
            "none",
            (q.ready(model),),
            runbook=AlertKind.NO_READY_SERVER,
        ),
    )


def _objectives(plan: Plan) -> tuple[Panel, ...]:
    return tuple(
        Panel(
            f"Objective {rule.objective}: spent",
            f"Share of {rule.what} over each window of the alerts; the line is the whole budget's rate.",
            "percentunit",
            (q.bad_ratio(rule),),
            limit=rule.budget,
            runbook=AlertKind.BUDGET_BURNING,
        )
        for rule in objective_rules(plan)
    )


def _saturation(model: str) -> tuple[Panel, ...]:
    return (
        Panel("Wait for a batch", "99th percentile.", "s", (q.queue_wait(model),), runbook=AlertKind.SATURATED),
        Panel(
            "Device at work",
            "Share of time, mean over servers.",
            "percentunit",
            (q.device_share(model),),
            limit=1.0,
            runbook=AlertKind.SATURATED,
        ),
        Panel("Rows in a batch", "Mean.", "none", (q.batch_rows(model),)),
        Panel("Time on the device", "99th percentile of a batch.", "s", (q.device_time(model),)),
        Panel("Decoding", "99th percentile of a picture.", "s", (q.decode_time(model),)),
        Panel("Feature lookup", "99th percentile of a batch.", "s", (q.feature_time(model),)),
    )


def _answers(plan: Plan) -> tuple[Panel, ...]:
    share, seconds = q.probe(plan.name)
    return (
        Panel(
            "Fallbacks",
            "Rows a second, by reason.",
            "cps",
            (q.fallbacks(plan.name),),
            runbook=AlertKind.FAILURE_LASTING,
        ),
        Panel(
            "Golden requests",
            "Share answered as sealed.",
            "percentunit",
            (share,),
            limit=1.0,
            runbook=AlertKind.PROBE_FAILING,
        ),
        Panel(
            "Golden requests: time",
            "The longest answer.",
            "s",
            (seconds,),
            limit=_slowest(plan),
            runbook=AlertKind.PROBE_FAILING,
        ),
    )


def _slowest(plan: Plan) -> float:
    """Return the plan's limit on a request, in seconds."""
    return plan.serving.latency_slo_ms / 1000
