"""Who answers whom: shares hold, units stick, and one experiment tells nothing of another."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sextant_plan.challengers import Challenger
from sextant_serving.assignment import Allocation, experiment_of, point_of, salt_of

UNITS = [f"unit-{number}".encode() for number in range(100_000)]
FEWER = UNITS[:4000]
RARE = 1e-6  # a right hash is called wrong once in a million salts


def points(units: list[bytes], experiment: str) -> np.ndarray:
    """Return each unit's point."""
    salt = salt_of(experiment)
    return np.array([point_of(unit, salt) for unit in units])


def table(first: np.ndarray, second: np.ndarray, bins: int) -> np.ndarray:
    """Return the counts of units by their bin in two experiments."""
    return np.asarray(np.histogram2d(first, second, bins=bins, range=[[0, 1], [0, 1]])[0])


def test_points_of_100_000_consecutive_ids_are_uniform() -> None:
    """A chi-square test over 1000 bins does not see a difference to the uniform distribution."""
    counts = np.histogram(points(UNITS, "spring"), bins=1000, range=(0, 1))[0]
    assert stats.chisquare(counts).pvalue > 1e-3


def test_two_experiments_of_100_000_units_are_independent() -> None:
    """Where a unit lies in one experiment says nothing of the other: chi-square over a 20 x 20 table."""
    joint = table(points(UNITS, "spring"), points(UNITS, "summer"), 20)
    assert stats.chi2_contingency(joint).pvalue > 1e-3


@given(experiment=st.text(max_size=80), other=st.text(max_size=80))
@settings(max_examples=25, deadline=None)
def test_any_two_names_give_uniform_and_independent_points(experiment: str, other: str) -> None:
    """Whatever an experiment is called, long or strange names too."""
    first = points(FEWER, experiment)
    assert stats.chisquare(np.histogram(first, bins=20, range=(0, 1))[0]).pvalue > RARE
    if other != experiment:
        assert stats.chi2_contingency(table(first, points(FEWER, other), 4)).pvalue > RARE


def test_shares_are_kept_and_units_stick() -> None:
    """20 and 5 percent of the units, within five standard errors; the same ones every time."""
    allocation = Allocation({"b": 20.0, "c": 5.0}, salt_of("spring"))
    first = [allocation.variant_of(unit) for unit in UNITS]
    assert first == [Allocation({"c": 5.0, "b": 20.0}, salt_of("spring")).variant_of(unit) for unit in UNITS]
    for variant, share in (("b", 0.2), ("c", 0.05), (None, 0.75)):
        error = np.sqrt(share * (1 - share) / len(UNITS))
        assert abs(first.count(variant) / len(UNITS) - share) < 5 * error


@pytest.mark.parametrize("percent", [0.0, 100.0])
def test_none_and_all_are_exact(percent: float) -> None:
    """At 0 nobody sees the challenger, at 100 everybody does."""
    allocation = Allocation({"b": percent}, salt_of("spring"))
    assert {allocation.variant_of(unit) for unit in FEWER} == {"b" if percent else None}


def test_a_raised_share_keeps_the_units_it_had() -> None:
    """From 10 to 30 percent nobody leaves the challenger."""
    few, more = (Allocation({"b": percent}, salt_of("spring")) for percent in (10.0, 30.0))
    assert all(more.variant_of(unit) == "b" for unit in FEWER if few.variant_of(unit) == "b")


def test_an_experiment_is_named_by_its_challengers_and_not_by_their_shares() -> None:
    """Another bundle starts another experiment; another share goes on with this one."""

    def challenger(digest: str, percent: float) -> Challenger:
        return Challenger(variant="b", version="2", digest=digest, bundle="b", role="ab", percent=percent)

    assert experiment_of([challenger("sha256:1", 5)]) == experiment_of([challenger("sha256:1", 50)])
    assert experiment_of([challenger("sha256:1", 5)]) != experiment_of([challenger("sha256:2", 5)])
