"""Rows in groups: the bounds against other libraries, against those of independent rows, and by simulation."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from statsmodels.api import OLS

from sextant_plan.bounds import (
    alike_rows,
    bootstrap,
    combined,
    mean,
    paired_difference,
    proportion,
    root_mean_square,
    share,
    share_difference,
    size_mean,
)

Rows = NDArray[np.bool_]
GroupRows = tuple[NDArray[np.int64], Rows, Rows]


@st.composite
def rows_in_groups(draw: st.DrawFn) -> GroupRows:
    """Groups of one to eight rows, in any order, and two answers a row."""
    sizes = draw(st.lists(st.integers(1, 8), min_size=1, max_size=15))
    groups = np.asarray(draw(st.permutations([group for group, size in enumerate(sizes) for _ in range(size)])))
    answers = draw(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=len(groups), max_size=len(groups)))
    one, other = (np.asarray(column, dtype=np.bool_) for column in zip(*answers, strict=True))
    return groups, one, other


@given(rows=rows_in_groups(), confidence=st.floats(0.55, 0.999))
def test_groups_of_one_row_change_no_figure(rows: GroupRows, confidence: float) -> None:
    """Exactly the bounds of Clopper and Pearson, of Tango and of Student, to the last digit."""
    _, one, other = rows
    own, n = np.arange(len(one))[::-1], len(one)
    assert share(one, confidence, own) == proportion(int(one.sum()), n, confidence)
    gained, lost = int((one & ~other).sum()), int((other & ~one).sum())
    assert share_difference(one, other, confidence, own) == paired_difference(gained, lost, n, confidence)
    if n > 1:
        assert mean(one, confidence, own) == mean(one, confidence)


@given(rows=rows_in_groups(), confidence=st.floats(0.55, 0.999))
def test_bounds_of_groups_contain_the_value_and_those_of_independent_rows(rows: GroupRows, confidence: float) -> None:
    """Groups never make evidence stronger, and leave at least one row of it."""
    groups, one, other = rows
    pairs = [
        (share(one, confidence, groups), share(one, confidence)),
        (share_difference(one, other, confidence, groups), share_difference(one, other, confidence)),
    ]
    if len(one) > 1:
        pairs.append((mean(one, confidence, groups), mean(one, confidence)))
    for found, alone in pairs:
        assert found.value == pytest.approx(alone.value)
        assert found.low <= alone.low + 1e-9 <= found.value + 2e-9 <= alone.high + 3e-9 <= found.high + 4e-9
        assert 1 <= found.n <= alone.n == len(one)


@given(rows=rows_in_groups(), confidence=st.floats(0.55, 0.95))
def test_more_certainty_takes_wider_bounds(rows: GroupRows, confidence: float) -> None:
    """Each bound moves outwards with the confidence."""
    groups, one, other = rows
    surer = (1 + confidence) / 2
    for bolder, wider in (
        (share(one, confidence, groups), share(one, surer, groups)),
        (share_difference(one, other, confidence, groups), share_difference(one, other, surer, groups)),
    ):
        assert wider.low <= bolder.low + 1e-9
        assert wider.high >= bolder.high - 1e-9


@given(groups=st.integers(2, 40), size=st.integers(2, 30), wrong=st.integers(0, 40))
def test_groups_of_alike_rows_are_worth_one_row_each(groups: int, size: int, wrong: int) -> None:
    """Where all rows of each group are answered alike, the bounds are about those of as many rows as groups."""
    right = np.arange(groups) >= min(wrong, groups)
    found = share(np.repeat(right, size), 0.95, np.repeat(np.arange(groups), size))
    alone = proportion(int(right.sum()), groups, 0.95)
    assert found.n in {groups - 1, groups}  # the division by one group less than there are may take one
    assert found.low <= alone.low + 1e-9
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high), abs=1 / groups)


def test_one_error_does_not_prove_more_than_none() -> None:
    """500 rows in 20 groups: with no error nothing is known of the groups, and the first errors tell little."""
    groups, lows = np.repeat(np.arange(20), 25), []
    for errors in (0, 1, 2, 5, 10, 20, 50, 100, 250):
        right = np.ones((25, 20), dtype=np.bool_)
        right.flat[:errors] = False  # spread over the groups as evenly as they go
        lows.append(share(right.T.ravel(), 0.95, groups).low)
    assert lows[0] == proportion(20, 20, 0.95).low
    assert max(later - earlier for earlier, later in pairwise(lows)) < 0.002


def test_a_few_pairs_among_many_rows_change_little() -> None:
    """Ten near-duplicates among 300 rows take no more than their own share of the evidence."""
    groups = np.concatenate([np.arange(290), np.arange(10)])
    for errors in (0, 1, 15, 150):
        right = np.arange(300) % 300 >= errors
        found, alone = share(right, 0.95, groups), share(right, 0.95)
        assert alike_rows(groups) - 1 <= found.n <= 300
        assert found.low == pytest.approx(alone.low, abs=0.005)


def _wrong_bounds(*, correlation: float, by_group: bool) -> float:
    """Return how often the lower bound of a share of 0.9 lies above it, in samples of 20 groups of 25 rows."""
    generator, groups, wrong = np.random.default_rng(7), np.repeat(np.arange(20), 25), 0
    scale = 1 / correlation - 1 if 0 < correlation < 1 else 0.0
    for _ in range(400):
        each = np.full(20, 0.9) if correlation == 0 else (generator.random(20) < 0.9).astype(float)
        each = generator.beta(0.9 * scale, 0.1 * scale, 20) if scale else each
        right = generator.random(500) < each[groups]
        wrong += share(right, 0.95, groups if by_group else None).low > 0.9
    return wrong / 400


@pytest.mark.parametrize("correlation", [0.0, 0.3, 1.0], ids="correlation-{}".format)
def test_the_bound_of_a_share_holds_whatever_the_rows_of_a_group_share(correlation: float) -> None:
    """At most 5 % of the bounds are wrong, within three standard errors; by row it is a third of them."""
    assert _wrong_bounds(correlation=correlation, by_group=True) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)
    by_row = _wrong_bounds(correlation=correlation, by_group=False)
    assert by_row > 0.25 if correlation else by_row < 0.09


def test_the_bounds_of_a_difference_and_of_a_mean_hold_in_groups() -> None:
    """Two models as good as each other, and errors, that go with the group: 300 samples of 50 groups of six rows."""
    generator, groups = np.random.default_rng(8), np.repeat(np.arange(50), 6)
    wrong = np.zeros(4)
    for _ in range(300):
        one, other = (0.7 * generator.normal(size=50)[groups] + 0.7 * generator.normal(size=300) for _ in range(2))
        gain = share_difference(one < 1, other < 1, 0.95, groups)
        error = mean(one, 0.95, groups)
        wrong += [gain.low > 0, gain.high < 0, error.low > 0, error.high < 0]
    assert (wrong / 300 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)).all()


def test_the_error_of_a_mean_by_groups_is_that_of_statsmodels() -> None:
    """The cluster-robust error of a regression on nothing but a constant, with Student's t on the groups less one."""
    generator, groups = np.random.default_rng(9), np.repeat(np.arange(12), 5)
    values = 3 + generator.normal(size=12)[groups] + generator.normal(size=60)
    fitted = OLS(values, np.ones(60)).fit(cov_type="cluster", cov_kwds={"groups": groups}, use_t=True)
    low, high = fitted.conf_int(alpha=0.1)[0]
    found = mean(values, 0.95, groups)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert 12 <= found.n < 60
    assert size_mean(np.abs(values), 0.95, groups).high > size_mean(np.abs(values), 0.95).high
    assert root_mean_square(values, 0.95, groups).n < 60


def test_one_group_has_one_row_s_worth_of_evidence() -> None:
    """Nothing is known of how groups differ: a share keeps the bounds of one row, and a mean has none."""
    one = np.zeros(40, dtype=np.int64)
    assert share(np.ones(40, dtype=np.bool_), 0.95, one).low == proportion(1, 1, 0.95).low
    assert share(np.arange(40) < 20, 0.95, one).n == 1
    assert mean(np.arange(40.0), 0.95, one).high == math.inf
    assert size_mean(np.arange(40.0), 0.95, one).low == -math.inf


def test_no_rows_of_groups_prove_nothing() -> None:
    """A slice without rows stays as open as it is without groups."""
    none = np.zeros(0, dtype=np.int64)
    assert share(np.zeros(0, dtype=np.bool_), 0.95, none).n == 0
    assert math.isnan(share_difference(none == 1, none == 1, 0.95, none).value)


def test_a_bootstrap_does_not_count_a_large_group_and_small_ones_alike() -> None:
    """A hundred rows beside one group of four hundred are not a hundred and one observations."""
    groups = np.concatenate([np.arange(100), np.full(400, 100)])
    assert bootstrap(lambda rows: float(len(rows)), 500, 0.95, groups=groups, resamples=5).n == 1


def test_what_groups_add_to_the_parts_of_a_sum_may_point_the_same_way() -> None:
    """Without groups distances add as roots of squares do; two parts that are all of groups add as they are."""
    groups = np.repeat(np.arange(10), 10)
    right = np.repeat(np.arange(10) > 1, 10)
    whole, alone = share(right, 0.95, groups), share(right, 0.95)
    terms = [(1.0, whole), (1.0, whole)]
    plain, added = combined(terms), combined(terms, alone=[alone, alone])
    assert combined([(1.0, alone), (1.0, alone)], alone=[alone, alone]).low == pytest.approx(
        combined([(1.0, alone), (1.0, alone)]).low
    )
    assert 2 * whole.value - 2 * (whole.value - whole.low) < added.low < plain.low
