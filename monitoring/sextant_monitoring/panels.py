"""What a board holds, apart from how Grafana writes it: panels with their queries, units, limits and runbooks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sextant_monitoring.queries import Query
from sextant_plan.alerts import AlertKind

Unit = Literal["none", "s", "reqps", "cps", "percentunit", "percent", "celsius"]


@dataclass(frozen=True)
class Panel:
    """One panel. `limit` is drawn as a line; `runbook` is the alert whose page the panel links to."""

    title: str
    description: str
    unit: Unit
    queries: tuple[Query, ...]
    kind: Literal["timeseries", "stat", "verdict"] = "timeseries"
    limit: float | None = None
    runbook: AlertKind | None = None


@dataclass(frozen=True)
class Row:
    """A heading and what stands under it."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Board:
    """One page of panels; `name` is part of its address."""

    name: str
    title: str
    description: str
    rows: tuple[Row, ...]

    @property
    def panels(self) -> list[Panel]:
        """Every panel of the board, in order."""
        return [panel for row in self.rows for panel in row.panels]
