"""The overview dashboard of a plan as Grafana's JSON: verdicts with their limits, then what the server does.

Panels are plain values; identifiers depend on the plan's name alone, so that a reload replaces and adds nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from sextant_monitoring import queries
from sextant_monitoring.queries import Query
from sextant_plan.alerts import VERDICT_LEVELS, Rule
from sextant_plan.canonical import digest_of
from sextant_plan.drift_rule import DriftRule
from sextant_plan.rules import compile_rules
from sextant_plan.schema import Plan
from sextant_plan.share_rule import ShareRule

SCHEMA_VERSION = 39  # Grafana 11; newer ones migrate it on loading
WIDTH = 24  # of Grafana's grid
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
VERDICT_MAPPINGS = [
    {
        "type": "value",
        "options": {
            str(level): {"text": verdict.value, "color": color, "index": index}
            for index, ((verdict, level), color) in enumerate(
                zip(VERDICT_LEVELS.items(), ("red", "yellow", "green"), strict=True)
            )
        },
    },
    {"type": "special", "options": {"match": "null", "result": {"text": "unknown", "color": "yellow", "index": 3}}},
]


@dataclass(frozen=True)
class Panel:
    """One panel: `kind` is Grafana's type, `limit` is drawn as a line, `config` adds to the field defaults."""

    kind: str
    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    limit: float | None = None
    height: int = 8
    config: dict[str, Any] = field(default_factory=dict)


def render_dashboard(plan: Plan) -> str:
    """Return the dashboard of a plan; equal plans give equal text. Raises UsageError as `compile_rules` does."""
    return json.dumps(dashboard(plan), indent=2, ensure_ascii=False) + "\n"


def dashboard(plan: Plan) -> dict[str, Any]:
    """Return the dashboard as plain values."""
    rules = [rule for rule in compile_rules(plan) if rule.criterion is not None]
    rows = [
        ("Verdicts", [_verdict(rule) for rule in rules]),
        ("Criteria and their limits", [_value(rule) for rule in rules]),
        ("Requests", _request_panels(plan)),
        ("Inside the server", _server_panels(plan)),
        ("Inputs and answers", _data_panels(plan)),
    ]
    return {
        "uid": dashboard_uid(plan.name),
        "title": f"Sextant: {plan.name}",
        "description": f"{plan.goal.business} Owner: {plan.owner.team}.",
        "tags": ["sextant", plan.name],
        "schemaVersion": SCHEMA_VERSION,
        "editable": False,
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "templating": {
            "list": [{"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]
        },
        "panels": list(_laid_out(rows)),
    }


def dashboard_uid(name: str) -> str:
    """Return a stable identifier of at most Grafana's 40 characters."""
    return f"sextant-{digest_of(name).removeprefix('sha256:')[:16]}"


def _verdict(rule: Rule) -> Panel:
    assert rule.criterion is not None
    return Panel(
        "stat",
        rule.criterion.id,
        f"Proved {rule.requirement}: pass; proved otherwise: fail; too little evidence: unknown.",
        "none",
        (queries.verdict(rule),),
        height=4,
        config={"mappings": VERDICT_MAPPINGS, "color": {"mode": "thresholds"}, "noValue": "unknown"},
    )


def _value(rule: Rule) -> Panel:
    assert rule.criterion is not None
    unit, limit = "percentunit", 0.0
    if isinstance(rule, ShareRule):
        limit, what = rule.limit, rule.what
    else:
        assert isinstance(rule, DriftRule)
        unit, limit, what = "none", rule.criterion.limit, "stability index of the feature that moved most, in nats"
    return Panel(
        "timeseries",
        f"{rule.criterion.id}: {what}",
        f"The plan asks for {rule.requirement}; the line is the limit.",
        unit,
        (queries.value(rule),),
        limit=limit,
    )


def _request_panels(plan: Plan) -> list[Panel]:
    model = plan.name
    return [
        Panel("timeseries", "Requests by code", "Inference requests a second.", "reqps", (queries.requests(model),)),
        Panel(
            "timeseries",
            "Request time",
            "Median and 99th percentile, interpolated between the histogram's edges; the line is the plan's "
            "serving.latency_slo_ms.",
            "s",
            queries.request_time(model),
            limit=plan.serving.latency_slo_ms / 1000,
        ),
        Panel("timeseries", "Ready servers", "How many scraped servers are ready.", "none", (queries.ready(model),)),
    ]


def _server_panels(plan: Plan) -> list[Panel]:
    model = plan.name
    return [
        Panel("timeseries", "Wait for a batch", "99th percentile.", "s", (queries.queue_wait(model),)),
        Panel("timeseries", "Time on the device", "99th percentile of a batch.", "s", (queries.device_time(model),)),
        Panel("timeseries", "Decoding", "99th percentile of a picture.", "s", (queries.decode_time(model),)),
        Panel("timeseries", "Feature lookup", "99th percentile of a batch.", "s", (queries.feature_time(model),)),
        Panel("timeseries", "Rows in a batch", "Mean.", "none", (queries.batch_rows(model),)),
        Panel("stat", "Age of the model", "Since the bundle was sealed.", "s", (queries.model_age(model),)),
    ]


def _data_panels(plan: Plan) -> list[Panel]:
    model, drift = plan.name, [rule for rule in compile_rules(plan) if isinstance(rule, DriftRule)]
    panels = [
        Panel(
            "timeseries",
            "Answers by class",
            "Share of the rows that the model answered.",
            "percentunit",
            (queries.classes(model),),
        ),
        Panel("timeseries", "Fallbacks", "Rows a second, by reason.", "cps", (queries.fallbacks(model),)),
        Panel("timeseries", "Labels", "Labels a second, by agreement.", "cps", (queries.feedback(model),)),
    ]
    for rule in drift:
        panels += [
            Panel(
                "timeseries",
                f"{rule.criterion.id} by feature",
                "Stability index against training, corrected for the number of rows, in nats; the line is the limit.",
                "none",
                (queries.feature_psi(rule),),
                limit=rule.criterion.limit,
            ),
            Panel(
                "timeseries",
                f"{rule.criterion.id}: chi-square by feature",
                "Pearson's statistic against the training shares; without a shift it is about the bins less one.",
                "none",
                (queries.feature_chi_square(rule),),
            ),
        ]
    return panels


def _laid_out(rows: list[tuple[str, list[Panel]]]) -> Iterator[dict[str, Any]]:
    """Yield each row's heading and its panels, side by side."""
    identifiers, top = count(1), 0
    for title, panels in rows:
        yield {
            "id": next(identifiers),
            "type": "row",
            "title": title,
            "collapsed": False,
            "panels": [],
            "gridPos": {"x": 0, "y": top, "w": WIDTH, "h": 1},
        }
        top += 1
        columns = 6 if panels and panels[0].height < 8 else 3
        for start in range(0, len(panels), columns):
            line = panels[start : start + columns]
            for place, panel in enumerate(line):
                width = WIDTH // columns
                box = {"x": place * width, "y": top, "w": width, "h": panel.height}
                yield _panel(panel, next(identifiers), box)
            top += max(panel.height for panel in line)


def _panel(panel: Panel, identifier: int, box: dict[str, int]) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, **panel.config}
    if panel.limit is not None:
        steps = [{"color": "transparent", "value": None}, {"color": "red", "value": panel.limit}]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
        defaults["custom"] = {"thresholdsStyle": {"mode": "line"}, "axisSoftMax": panel.limit, "axisSoftMin": 0}
    return {
        "id": identifier,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "gridPos": box,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + place), "datasource": DATASOURCE, "expr": query.expr, "legendFormat": query.legend}
            for place, query in enumerate(panel.queries)
        ],
    }
