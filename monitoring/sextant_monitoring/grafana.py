"""A board as Grafana's JSON, by Grafana's own typed builders.

Identifiers depend on the plan's and the board's names alone, so that a reload replaces and adds nothing.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sextant_monitoring.panels import Board, Panel
from sextant_plan.alerts import VERDICT_LEVELS
from sextant_plan.canonical import digest_of
from sextant_plan.schema import Notify, Plan
from sextant_plan.verdicts import Verdict

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import stat, timeseries
    from grafana_foundation_sdk.models import dashboard as models

WIDTH, HEIGHT = 8, 8  # of a panel, on Grafana's grid of 24 columns; stats are half as wide and high
COLOURS = {Verdict.FAIL: "red", Verdict.UNKNOWN: "yellow", Verdict.PASS: "green"}


def render(board: Board, plan: Plan) -> str:
    """Return the board's JSON."""
    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    text = json.dumps(_dashboard(board, plan).build(), cls=JSONEncoder, indent=2, ensure_ascii=False, sort_keys=True)
    return text + "\n"


def board_uid(name: str, board: str) -> str:
    """Return a stable identifier of at most Grafana's 40 characters."""
    return f"sextant-{board}-{digest_of(name).removeprefix('sha256:')[:16]}"


def _dashboard(board: Board, plan: Plan) -> Any:
    from grafana_foundation_sdk.builders import dashboard

    links = dashboard.DashboardLink("Boards of this plan").as_dropdown(True).keep_time(True).tags([plan.name])
    builder = (
        dashboard.Dashboard(f"{plan.name}: {board.title}")
        .uid(board_uid(plan.name, board.name))
        .description(board.description)
        .tags(["sextant", plan.name])
        .readonly()
        .refresh("1m")
        .time("now-24h", "now")
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .link(links)
    )
    identifier = 0
    for row in board.rows:
        identifier += 1
        builder.with_row(dashboard.Row(row.title).id(identifier))
        for panel in row.panels:
            identifier += 1
            builder.with_panel(_panel(panel, plan.monitoring.notify).id(identifier))
    return builder


def _panel(panel: Panel, notify: Notify) -> stat.Panel | timeseries.Panel:
    from grafana_foundation_sdk.builders import dashboard, prometheus
    from grafana_foundation_sdk.models.dashboard import DashboardLinkType, DataSourceRef

    source = DataSourceRef(type_val="prometheus", uid="${datasource}")
    builder: Any = _timeseries(panel) if panel.kind == "timeseries" else _stat(panel)
    builder = builder.title(panel.title).description(panel.description).unit(panel.unit).datasource(source)
    if panel.runbook is not None:
        link = dashboard.DashboardLink("Runbook").type(DashboardLinkType.LINK).url(notify.runbook(panel.runbook))
        builder = builder.links([link.target_blank(True)])
    for place, query in enumerate(panel.queries):
        target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(chr(ord("A") + place))
        builder = builder.with_target(target.datasource(source))
    found: stat.Panel | timeseries.Panel = builder
    return found


def _timeseries(panel: Panel) -> timeseries.Panel:
    from grafana_foundation_sdk.builders import common, dashboard, timeseries
    from grafana_foundation_sdk.models.common import GraphTresholdsStyleMode
    from grafana_foundation_sdk.models.dashboard import Threshold, ThresholdsMode

    builder = timeseries.Panel().span(WIDTH).height(HEIGHT).axis_soft_min(0)
    if panel.limit is None:
        return builder
    steps = [Threshold(value=None, color="transparent"), Threshold(value=panel.limit, color="red")]
    line = common.GraphThresholdsStyleConfig().mode(GraphTresholdsStyleMode.LINE)
    limits = dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
    return builder.thresholds(limits).thresholds_style(line).axis_soft_max(panel.limit)


def _stat(panel: Panel) -> stat.Panel:
    from grafana_foundation_sdk.builders import stat

    builder = stat.Panel().span(WIDTH // 2).height(HEIGHT // 2)
    return builder.mappings(_verdict_mappings()).no_value("unknown") if panel.kind == "verdict" else builder


def _verdict_mappings() -> list[models.ValueMapping]:
    from grafana_foundation_sdk.models.dashboard import (
        DashboardSpecialValueMapOptions,
        SpecialValueMap,
        SpecialValueMatch,
        ValueMap,
        ValueMappingResult,
    )

    options = {
        str(level): ValueMappingResult(text=verdict.value, color=COLOURS[verdict], index=place)
        for place, (verdict, level) in enumerate(VERDICT_LEVELS.items())
    }
    unknown = ValueMappingResult(text=Verdict.UNKNOWN.value, color=COLOURS[Verdict.UNKNOWN], index=len(options))
    silent = DashboardSpecialValueMapOptions(match=SpecialValueMatch.NULL, result=unknown)
    return [ValueMap(options=options), SpecialValueMap(options=silent)]
