"""Plots as inline SVG: they take the page's colours, light and dark, and print sharp.

Every plot is drawn from an artifact's numbers; the same numbers stand in a table or in the alternative text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

WIDTH, HEIGHT = 560.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 62.0, 14.0, 14.0, 46.0
TICKS = 5


@dataclass(frozen=True)
class Mark:
    """One shape in the plot's own units; `look` is its CSS class."""

    kind: str
    look: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Tick:
    """One tick of an axis: where it stands in the SVG and what it says."""

    at: float
    text: str


@dataclass(frozen=True)
class Plot:
    """Marks with their axes, in the SVG's coordinates; `title` and `text` are its accessible name and description."""

    title: str
    text: str
    marks: list[Mark]
    across: list[Tick]
    up: list[Tick]
    across_label: str
    up_label: str
    width: float = WIDTH
    height: float = HEIGHT
    frame: tuple[float, float, float, float] = (LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM)


@dataclass
class Axes:
    """Spans of both axes and the marks drawn so far, in the data's units."""

    x: tuple[float, float]
    y: tuple[float, float]
    marks: list[Mark] = field(default_factory=list)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point stands in the SVG."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0]) * (WIDTH - LEFT - RIGHT)
        up = (y - self.y[0]) / (self.y[1] - self.y[0]) * (HEIGHT - TOP - BOTTOM)
        return round(LEFT + across, 1), round(HEIGHT - BOTTOM - up, 1)

    def line(self, points: Sequence[tuple[float, float]], look: str) -> None:
        """Draw a line through points."""
        self.marks.append(Mark("line", look, tuple(self.at(*point) for point in points)))

    def dot(self, x: float, y: float, look: str) -> None:
        """Draw a dot."""
        self.marks.append(Mark("dot", look, (self.at(x, y),)))

    def area(self, points: Sequence[tuple[float, float]], look: str) -> None:
        """Fill the area that points enclose."""
        self.marks.append(Mark("area", look, tuple(self.at(*point) for point in points)))

    def bar(self, left: float, right: float, height: float, look: str) -> None:
        """Fill a bar from the axis to `height`."""
        base = self.y[0]
        self.area([(left, base), (left, height), (right, height), (right, base)], look)

    def plot(self, title: str, text: str, *, across: str, up: str, named: Sequence[tuple[float, str]] = ()) -> Plot:
        """Return the finished plot; `named` replaces the numbers below the axis by words."""
        ticks = [Tick(self.at(x, self.y[0])[0], name) for x, name in named] or [
            Tick(self.at(x, self.y[0])[0], _short(x)) for x in ticks_of(*self.x)
        ]
        sides = [Tick(self.at(self.x[0], y)[1], _short(y)) for y in ticks_of(*self.y)]
        return Plot(title, text, self.marks, ticks, sides, across, up)


def ticks_of(low: float, high: float) -> list[float]:
    """Return round numbers from `low` to `high`, about five."""
    step = 10 ** math.floor(math.log10((high - low) / TICKS))
    step *= next(each for each in (1, 2, 5, 10) if (high - low) / (step * each) <= TICKS)
    first = math.ceil(low / step - 1e-9)
    return [round(place * step, 10) for place in range(first, math.floor(high / step + 1e-9) + 1)]


def _short(value: float) -> str:
    return f"{value:g}" if abs(value) < 10_000 else f"{value:.3g}"
