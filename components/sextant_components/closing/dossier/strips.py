"""The interval strip: a measured value, its bounds and its limit on one small axis, as numbers for an SVG."""

from __future__ import annotations

from dataclasses import dataclass

WIDTH = 160.0  # of the SVG's view box, in its own units
MARGIN = 6.0
PADDING = 0.15  # of the spread on each side, so that no mark stands on the edge


@dataclass(frozen=True)
class Strip:
    """Positions along the axis, 0 to WIDTH; `good` is the span on the good side of the limit, if there is one."""

    low: float
    high: float
    value: float
    limit: float | None = None
    good: tuple[float, float] | None = None


def strip(
    value: float,
    low: float | None,
    high: float | None,
    *,
    limit: float | None = None,
    good_is_high: bool = True,
    axis: tuple[float, float] | None = None,
) -> Strip:
    """Return the strip of an estimate; a bound that does not exist runs to the end of the axis.

    `axis` is the span of the quantity that several strips share, so that they can be compared by eye.
    """
    marks = [mark for mark in (value, low, high, limit) if mark is not None]
    first, last = axis or (min(marks), max(marks))
    spread = last - first or abs(value) or 1.0
    left, right = first - PADDING * spread, last + PADDING * spread

    def at(mark: float) -> float:
        return round(MARGIN + (mark - left) / (right - left) * (WIDTH - 2 * MARGIN), 1)

    good = None
    if limit is not None:
        good = (at(limit), WIDTH) if good_is_high else (0.0, at(limit))
    return Strip(
        low=0.0 if low is None else at(low),
        high=WIDTH if high is None else at(high),
        value=at(value),
        limit=None if limit is None else at(limit),
        good=good,
    )
