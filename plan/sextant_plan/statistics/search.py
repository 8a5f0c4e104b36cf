"""Inverting a test: the last value that it does not reject."""

from __future__ import annotations

from collections.abc import Callable

HALVINGS = 60  # of an interval no longer than 2: exact to a double's last place


def boundary(inside: float, outside: float, is_outside: Callable[[float], bool]) -> float:
    """Return the last number on the way from `inside` to `outside` that is not outside."""
    for _ in range(HALVINGS):
        middle = (inside + outside) / 2
        if is_outside(middle):
            outside = middle
        else:
            inside = middle
    return inside
