"""Sticky assignment: which variant answers a unit, by a hash that anyone can recompute.

A unit (a customer, a parcel) always lands on the same point of [0, 1) in one experiment, on an independent one in
another. Each variant owns an interval of points.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from sextant_plan.canonical import digest_of
from sextant_plan.challengers import Challenger


def point_of(unit: bytes, salt: bytes) -> float:
    """Return the unit's point in [0, 1) under a salt of at most 64 bytes: uniform, and independent across salts."""
    # 53 bits: what a float holds exactly, so that no point rounds up to 1.
    return (int.from_bytes(blake2b(unit, key=salt, digest_size=8).digest()) >> 11) * 2.0**-53


def salt_of(experiment: str) -> bytes:
    """Return the salt of an experiment's name, of any length."""
    return blake2b(experiment.encode(), digest_size=32).digest()


def experiment_of(challengers: Iterable[Challenger]) -> str:
    """Return the name of an experiment that was given none: its challengers' digests, whatever their shares."""
    return digest_of(sorted([one.variant, one.digest] for one in challengers))


class Allocation:
    """How the points are divided: each challenger in `percents` owns an interval, the champion what is left.

    The intervals lie from the upper end down in the order of the challengers' names: a single challenger that is
    given more keeps the units it had, so a share can be raised step by step.
    """

    def __init__(self, percents: dict[str, float], salt: bytes) -> None:
        self._salt = salt
        self._lower_edges: list[tuple[float, str]] = []
        edge = 100.0
        for variant in sorted(percents):
            edge -= percents[variant]
            self._lower_edges.append((max(edge, 0.0) / 100, variant))

    def variant_of(self, unit: bytes) -> str | None:
        """Return the challenger that answers the unit, None for the champion."""
        if not self._lower_edges:
            return None
        point = point_of(unit, self._salt)
        return next((variant for edge, variant in self._lower_edges if point >= edge), None)
