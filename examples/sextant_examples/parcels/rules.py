"""The rule of thumb that packers use without a model: sides, weight and price. It is what a model has to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_SIDES = ("length_cm", "width_cm", "height_cm")


def by_measure(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """Return a class for each row, from its measurements if all four are there, else from its price.

    A row has the table's columns and, where they were joined, the features `weight_g`, `length_cm`,
    `width_cm` and `height_cm`; a value may be missing.
    """
    return [_guess(row) for row in rows]


def _guess(row: Mapping[str, object]) -> str:
    price = _number(row, "price")
    weight, *sides = (_number(row, name) for name in ("weight_g", *_SIDES))
    known = sorted((side for side in sides if side is not None), reverse=True)
    if weight is None or len(known) < len(_SIDES):
        return _by_price(price)
    long, middle, flat = known
    if long > 2.2 * middle:
        return "tube" if weight < 650 else "bottle"
    if long < 18:
        return "mug"
    if flat < 6:
        return "book"
    if weight > 800:
        return "electronics" if price is not None and price > 75 else "shoes"
    return "bag" if flat < 10 else "toy-box"


def _by_price(price: float | None) -> str:
    if price is None:
        return "toy-box"
    return "electronics" if price > 75 else "shoes" if price > 45 else "toy-box" if price > 24 else "bottle"


def _number(row: Mapping[str, object], name: str) -> float | None:
    value = row.get(name)
    return float(value) if isinstance(value, int | float) else None
