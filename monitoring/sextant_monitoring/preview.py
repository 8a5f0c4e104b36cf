"""A board as a picture, drawn from the same queries as Grafana draws it, for readers without one."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from sextant_monitoring.http import get_text
from sextant_monitoring.panels import Board, Panel
from sextant_monitoring.queries import RATE, Query

COLOURS = 64  # of the picture, which a third of the bytes hold then
USUAL_RATE = "4m"
COLUMNS, STEPS = 3, 120  # panels side by side, and points of a curve
MOST_CURVES = 8  # in a panel; more cannot be told apart at this size

Series = tuple[str, list[float], list[float]]


def draw_board(board: Board, prometheus: str, path: Path, *, start: float, end: float, rate: str = USUAL_RATE) -> None:
    """Write the board as a PNG from Prometheus' data between two Unix times, rates over `rate`. Raises ServerSilent."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from PIL import Image

    panels = board.panels
    rows = math.ceil(len(panels) / COLUMNS)
    with mpl.rc_context({"font.size": 7, "axes.titlesize": 8, "axes.grid": True, "grid.alpha": 0.3}):
        figure = Figure(figsize=(4 * COLUMNS, 2.2 * rows), layout="constrained")
        figure.suptitle(board.title, fontsize=11)
        axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
        for axis, panel in zip(axes, panels, strict=False):
            asked = [_curves(query, prometheus, start, end, rate) for query in panel.queries]
            _draw(axis, panel, [curve for curves in asked for curve in curves])
        for axis in axes[len(panels) :]:
            axis.set_axis_off()
        figure.savefig(path, dpi=110)
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(COLOURS)
    small.save(path, optimize=True)


def _draw(axis: Any, panel: Panel, curves: Sequence[Series]) -> None:
    axis.set_title(panel.title if len(panel.title) < 60 else panel.title[:57] + "...", loc="left")
    for legend, times, values in curves[:MOST_CURVES]:
        axis.plot(times, values, linewidth=1, label=legend.strip() or None)
    if panel.limit is not None:
        axis.axhline(panel.limit, color="red", linewidth=0.8, linestyle="--")
    if panel.kind == "verdict":
        axis.set_yticks([-1, 0, 1], ["fail", "unknown", "pass"])
    elif panel.unit != "none":
        axis.set_ylabel({"percentunit": "share"}.get(panel.unit, panel.unit))
    axis.set_xlabel("minutes")
    if any(legend.strip() for legend, _, _ in curves):
        axis.legend(fontsize=5, loc="best")


def _curves(query: Query, prometheus: str, start: float, end: float, rate: str) -> list[Series]:
    asked = {
        "query": query.expr.replace(RATE, rate),
        "start": f"{start:.3f}",
        "end": f"{end:.3f}",
        "step": f"{(end - start) / STEPS:.3f}",
    }
    answer = json.loads(get_text(f"{prometheus}/api/v1/query_range?{urlencode(asked)}"))
    found = []
    for series in answer["data"]["result"]:
        legend = query.legend
        for name, value in series["metric"].items():
            legend = legend.replace(f"{{{{{name}}}}}", value)
        times = [(float(moment) - start) / 60 for moment, _ in series["values"]]
        found.append((legend, times, [float(value) for _, value in series["values"]]))
    return found
