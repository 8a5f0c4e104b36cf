"""The suppliers: what they sell, what they charge, and how their packaging looks to the camera."""

from __future__ import annotations

from dataclasses import dataclass

Colour = tuple[int, int, int]

CLASSES = ("bag", "book", "bottle", "electronics", "mug", "shoes", "toy-box", "tube")


@dataclass(frozen=True)
class Supplier:
    """One sender. `mark` is the figure of its logo, `mix` the weight of each class in CLASSES among its parcels."""

    name: str
    carton: Colour
    accent: Colour
    tape: Colour
    mark: str
    mix: tuple[float, ...]
    price_level: float


KNOWN = (
    Supplier("alder", (186, 148, 104), (38, 110, 72), (214, 190, 140), "leaf", (2, 3, 2, 1, 2, 2, 2, 2), 1.0),
    Supplier("birchway", (226, 222, 212), (196, 62, 48), (240, 236, 226), "bar", (2, 1, 2, 3, 2, 2, 2, 1), 1.15),
    Supplier("cormorant", (168, 128, 86), (30, 62, 120), (52, 84, 150), "ring", (1, 2, 3, 2, 2, 1, 2, 3), 0.9),
    Supplier("dunlin", (204, 176, 138), (226, 148, 34), (232, 208, 96), "chevron", (3, 2, 1, 2, 2, 3, 3, 1), 0.8),
    Supplier("elmfold", (150, 146, 142), (88, 52, 118), (120, 116, 112), "block", (2, 2, 2, 2, 2, 2, 2, 2), 1.05),
)

# Joins only in a shifted table: dark teal cartons, pink tape, and mostly the classes that look alike.
NEWCOMER = Supplier("fenmark", (34, 104, 112), (240, 110, 160), (246, 150, 190), "bar", (1, 1, 3, 4, 1, 1, 4, 3), 1.6)


def supplier(name: str) -> Supplier:
    """Return the supplier of that name; raises KeyError for one that is not known."""
    return {each.name: each for each in (*KNOWN, NEWCOMER)}[name]
