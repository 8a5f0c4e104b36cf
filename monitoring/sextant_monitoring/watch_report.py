"""The monitoring report: each window's verdicts and values, and quality by labels, as one HTML file without scripts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from sextant_monitoring.launcher import TimeWindow
from sextant_monitoring.quality import WindowQuality
from sextant_monitoring.watcher import Judged, Look
from sextant_plan.loading import plan_hash
from sextant_plan.moments import moment
from sextant_plan.schema import Plan
from sextant_plan.types import DAY

WIDTH, HEIGHT = 220, 36  # of a curve, in pixels
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #1b1f24; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0 2rem; }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid #d8dee4; vertical-align: middle; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.pass { color: #116329; } .fail { color: #a40e26; font-weight: 600; } .unknown { color: #7d4e00; }
caption { text-align: left; font-weight: 600; padding: .5rem 0; }
"""


def render_report(
    plan: Plan,
    looks: Sequence[Look],
    qualities: Sequence[WindowQuality],
    sealed: Mapping[str, float] | None = None,
) -> str:
    """Return the report of looks in the order of time, at least one, and of past windows' quality.

    `sealed` has the Unix time at which each version was sealed; quality is shown by age where it is known.
    """
    last = looks[-1]
    rows = "\n".join(_criterion_row(judged, looks) for judged in last.judged)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(plan.name)}: monitoring</title><style>{STYLE}</style></head>
<body><h1>{escape(plan.name)}: monitoring</h1>
<p>{len(looks)} looks from {moment(looks[0].at)} to {moment(last.at)}, over windows of {plan.monitoring.window:g} s;
plan {escape(plan_hash(plan))}.</p>
<table><caption>Rules at the last look</caption>
<tr><th>rule</th><th>wanted</th><th>verdict</th><th>value</th><th>bounds</th><th>rows</th><th>over the looks</th></tr>
{rows}
</table>
{_window_table(plan, looks)}
{_quality_table(qualities)}
{_age_table(qualities, sealed or {})}
</body></html>
"""


def looks_by_window(plan: Plan, looks: Sequence[Look]) -> list[tuple[TimeWindow, Look]]:
    """Return each window that ended while it was watched, with the first look after its end, in order."""
    found: dict[TimeWindow, Look] = {}
    for look in looks:
        found.setdefault(TimeWindow.ended_before(look.at, plan.monitoring.window), look)
    return [(window, look) for window, look in found.items() if window.end > looks[0].at]


def _window_table(plan: Plan, looks: Sequence[Look]) -> str:
    windows = looks_by_window(plan, looks)
    if not windows:
        return f"<p>No window of {plan.monitoring.window:g} s has ended while it was watched.</p>"
    names = list(dict.fromkeys(judged.name for _, look in windows for judged in look.judged))
    heading = "".join(f"<th>{escape(name)}</th>" for name in names)
    rows = "\n".join(
        f"<tr><td>{moment(window.start)}</td>{''.join(_window_cell(name, look) for name in names)}</tr>"
        for window, look in windows
    )
    return f"<table><caption>By window</caption><tr><th>from</th>{heading}</tr>\n{rows}\n</table>"


def _window_cell(name: str, look: Look) -> str:
    judged = next((each for each in look.judged if each.name == name), None)
    if judged is None:
        return "<td></td>"
    value = _value(judged)
    shown = f"{value:.4g}" if math.isfinite(value) else "-"
    return f'<td class="{judged.verdict}" title="{judged.verdict}">{shown}</td>'


def _age_table(qualities: Iterable[WindowQuality], sealed: Mapping[str, float]) -> str:
    """Return quality by the model's age, which shows how fast it goes stale."""
    rows = []
    for each in qualities:
        version = each.target[1]
        for criterion, estimate in each.qualities.items() if version in sealed else ():
            days = (each.window.start - sealed[version]) / DAY
            named = f"<td>{escape(version)}</td><td>{escape(criterion)}</td>"
            cells = "".join(
                f'<td class="number">{text}</td>'
                for text in (f"{days:.2f}", f"{estimate.value:.4f}", f"{estimate.low:.4f} to {estimate.high:.4f}")
            )
            rows.append((version, criterion, days, f"<tr>{named}{cells}</tr>"))
    if not rows:
        return ""
    heading = "".join(f"<th>{name}</th>" for name in ("version", "criterion", "age in days", "value", "bounds"))
    body = "\n".join(text for *_, text in sorted(rows))
    return f"<table><caption>Staleness: quality by the model's age</caption><tr>{heading}</tr>\n{body}\n</table>"


def _criterion_row(judged: Judged, looks: Sequence[Look]) -> str:
    estimate = judged.worst.estimate if judged.worst is not None else None
    value = bounds = rows = "-"
    if estimate is not None:
        value, rows = f"{estimate.value:.4g}", f"{estimate.n}"
        if estimate.low < estimate.high:
            bounds = f"{estimate.low:.4g} to {estimate.high:.4g}"
    curve = _curve([_value(each) for look in looks for each in look.judged if each.name == judged.name])
    return (
        f"<tr><td>{escape(judged.name)}</td><td>{escape(judged.rule.requirement)}</td>"
        f'<td class="{judged.verdict}">{judged.verdict}</td><td class="number">{value}</td>'
        f'<td class="number">{bounds}</td><td class="number">{rows}</td><td>{curve}</td></tr>'
    )


def _value(judged: Judged) -> float:
    estimate = judged.worst.estimate if judged.worst is not None else None
    return estimate.value if estimate is not None else math.nan


def _curve(values: Sequence[float]) -> str:
    """Return the finite values as a small curve from their lowest to their highest."""
    finite = [(place, value) for place, value in enumerate(values) if math.isfinite(value)]
    if len(finite) < 2:
        return ""
    low, high = min(value for _, value in finite), max(value for _, value in finite)
    points = " ".join(_point(place / (len(values) - 1), (value - low) / ((high - low) or 1)) for place, value in finite)
    return (
        f'<svg width="{WIDTH}" height="{HEIGHT}" role="img"><title>{low:.4g} to {high:.4g}</title>'
        f'<polyline points="{points}" fill="none" stroke="#0550ae" stroke-width="1.5"/></svg>'
    )


def _point(x: float, y: float) -> str:
    return f"{x * WIDTH:.1f},{(1 - y) * (HEIGHT - 4) + 2:.1f}"


def _quality_table(qualities: Iterable[WindowQuality]) -> str:
    rows = [
        f"<tr><td>{moment(each.window.start)}</td><td>{escape(' '.join(each.target[1:]))}</td>"
        f"<td>{escape(criterion)}</td>"
        f'<td class="number">{estimate.value:.4f}</td><td class="number">{estimate.low:.4f} to {estimate.high:.4f}</td>'
        f'<td class="number">{estimate.n}</td><td class="number">{each.join_rate:.1%}</td>'
        f'<td class="number">{"-" if math.isnan(each.expected) else f"{each.expected:.4f}"}</td></tr>'
        for each in qualities
        for criterion, estimate in each.qualities.items()
    ]
    if not rows:
        return "<p>No window has labels yet.</p>"
    heading = "".join(
        f"<th>{name}</th>"
        for name in ("window from", "version", "criterion", "value", "bounds", "labels", "join rate", "expected")
    )
    return f"<table><caption>Quality by labels</caption><tr>{heading}</tr>\n" + "\n".join(rows) + "</table>"
