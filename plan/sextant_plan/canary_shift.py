"""A shift between what a canary and the stable version predict, from rows by class: its proof and its size.

Formulas: `sextant_plan.sequential`, F5 and F6. Rows by class are kept for each weight by itself, because the mix of
what is asked may move while the weight does; rows are taken as independent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sextant_plan.reference import stability_index
from sextant_plan.sequential import ShiftTest, shift_size_bounds

Tallies = dict[str, tuple[int, int]]
"""Rows by predicted class, as (canary, stable)."""


@dataclass(frozen=True)
class ClassLook:
    """Rows by class since the look before, at one weight in percent."""

    weight: int
    tallies: Tallies

    @property
    def n_canary(self) -> int:
        """The canary's rows."""
        return sum(canary for canary, _ in self.tallies.values())

    @property
    def n_stable(self) -> int:
        """The stable version's rows."""
        return sum(stable for _, stable in self.tallies.values())


def add_tallies(before: Tallies, more: Tallies) -> Tallies:
    """Return the sum by class; a class of either is in it."""
    classes = sorted(before.keys() | more.keys())
    canary, stable = _arms(before, classes) + _arms(more, classes)
    return {name: (int(c), int(s)) for name, c, s in zip(classes, canary, stable, strict=True)}


def bet_on(before: Tallies, more: Tallies) -> float:
    """Return what one look adds to the log-wealth of F5, bet on by the rows of its own weight before it."""
    classes = sorted(before.keys() | more.keys())
    test = ShiftTest(len(classes))
    test.canary, test.stable = _arms(before, classes)
    test.update(*_arms(more, classes))
    return test.log_e


def shift_bounds(tallies: Tallies, alpha: float) -> tuple[float, float]:
    """Return F6's bounds on the stability index between the arms, in nats."""
    canary, stable = _arms(tallies, sorted(tallies))
    return shift_size_bounds(canary, stable, alpha)


def shift_size(tallies: Tallies) -> float:
    """Return the stability index between the arms in nats, less its expectation where nothing has shifted."""
    canary, stable = _arms(tallies, sorted(tallies))
    return stability_index(stable, canary, corrected=True)


def _arms(tallies: Tallies, classes: Iterable[str]) -> NDArray[np.float64]:
    """Return the rows as an array of shape (2, classes): the canary's, the stable version's."""
    return np.array([tallies.get(name, (0, 0)) for name in classes], dtype=np.float64).reshape(-1, 2).T
