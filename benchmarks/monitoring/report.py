"""The page of the drift simulations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Cell = Mapping[str, Any]
INTRODUCTION = """# Drift detection measured

Written by `python -m benchmarks.monitoring report` after `run`. Windows of 500 rows are drawn with replacement from a
table, so that without a shift a window and the 5,000 reference rows have one distribution. Three tables are
scikit-learn's, with ten numbers each; the parcels have price, four measures, ten statistics of the picture and the
supplier, a category. A dark hall and a new supplier are shifts that the parcels are drawn with, not arithmetic.
A detector alerts when it calls any of a table's features drifted; each has its own defaults. Shares are with exact 95 %
intervals (Clopper and Pearson 1934). Ours is the rule of [decision 14][14] at 95 % confidence with a limit of 0.1 nats
(`sextant`) and of 0.05 nats (`sextant-0.05`).

[14]: adr/0014-a-drift-alert-is-effect-and-significance-and-rows.md
"""
CAVEATS = """
What the figures say: without a shift the usual limit raised no alert in 40,000 windows, and half of it in fewer than
6 of 1,000, where the best peer alerts in 2 to 5 of 100 and the others in 23 to 59. From half a standard deviation in
a single feature on, and in a dark hall or with a new supplier, every detector sees every window.

At a quarter of a standard deviation the usual limit of 0.1 nats lies about the shift itself, so ours speaks in some
of the windows and is silent in others. At 0.05 nats it speaks where the peers do, but for 1 window in 100 of one
table, with a fifth of the best peer's false alarms. Whoever wants to hear of so small a shift writes that limit. An
index over ten bins is weaker against a small move of a mean than Kolmogorov and Smirnov's statistic, which needs the
rows.

Times are of one process on a busy machine and include each library's own call; only their ratio is meant, over
windows without a shift, where none can stop at the first feature. A cell that is absent was not measured.
"""


def render(found: Mapping[str, Sequence[Cell]]) -> str:
    """Return the page from the results by file."""
    parts = [INTRODUCTION, "\n## Ours\n\n", _table(found.get("ours", [])), "\n## The same windows for all\n\n"]
    compared = [cell for name, cells in found.items() if name != "ours" for cell in cells]
    parts += [_table(compared), "\n## Time for one window\n\n", _times(compared), CAVEATS]
    return "".join(parts)


def _table(cells: Iterable[Cell]) -> str:
    lines = ["| table | shift | detector | alerts | share | 95 % interval |", "|---|---|---|---|---|---|"]
    for cell in sorted(
        cells, key=lambda each: (each["shift"] != "none", each["shift"], each["table"], each["detector"])
    ):
        low, high = _interval(cell["alerts"], cell["windows"])
        share = cell["alerts"] / cell["windows"]
        lines.append(
            f"| {cell['table']} | {cell['shift']} | {cell['detector']} | {cell['alerts']} of {cell['windows']} "
            f"| {share:.4f} | {low:.4f} to {high:.4f} |"
        )
    return "\n".join(lines) + "\n"


def _times(cells: Sequence[Cell]) -> str:
    """Return the mean times over windows without a shift, where no detector can stop at the first drifted feature."""
    lines = ["| detector | ms a window | times ours |", "|---|---|---|"]
    spent: dict[str, tuple[float, int]] = {}
    for cell in (each for each in cells if each["shift"] == "none"):
        seconds, windows = spent.get(cell["detector"], (0.0, 0))
        spent[cell["detector"]] = (seconds + cell["seconds"], windows + cell["windows"])
    means = {name: 1000 * seconds / windows for name, (seconds, windows) in spent.items()}
    ours = means.get("sextant", float("nan"))
    lines += [
        f"| {name} | {mean:.2f} | {mean / ours:.1f} |" for name, mean in sorted(means.items(), key=lambda x: x[1])
    ]
    return "\n".join(lines) + "\n"


def _interval(alerts: int, windows: int) -> tuple[float, float]:
    from sextant_plan.bounds import proportion

    estimate = proportion(alerts, windows, 0.975)
    return estimate.low, estimate.high
