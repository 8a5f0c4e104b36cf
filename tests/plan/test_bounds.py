"""The gates' bounds against scipy, statsmodels-free simulation, and their own promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binom, multinomial, norm, ttest_1samp

from sextant_plan.bounds import (
    bootstrap,
    combined,
    mean,
    paired_difference,
    proportion,
    quantile,
    rows_to_prove,
    size_mean,
)


@given(n=st.integers(1, 3000), share=st.floats(0, 1), confidence=st.floats(0.6, 0.999))
def test_proportion_bounds_are_clopper_pearson(n: int, share: float, confidence: float) -> None:
    """Both bounds equal the beta quantiles of Clopper and Pearson."""
    x = round(share * n)
    estimate = proportion(x, n, confidence)
    low = beta.ppf(1 - confidence, x, n - x + 1) if x else 0.0
    high = beta.ppf(confidence, x + 1, n - x) if x < n else 1.0
    assert (estimate.low, estimate.high) == pytest.approx((low, high), rel=1e-9, abs=1e-12)
    assert estimate.low <= estimate.value <= estimate.high


@pytest.mark.parametrize("p", [0.5, 0.9, 0.97], ids="p={}".format)
def test_proportion_lower_bound_holds_at_its_confidence(p: float) -> None:
    """Over every outcome of 300 rows the lower bound exceeds the truth with probability at most 5 %."""
    wrong = sum(binom.pmf(x, 300, p) for x in range(301) if proportion(x, 300, 0.95).low > p)
    assert wrong <= 0.05


@pytest.mark.parametrize(
    ("rows", "gained", "lost"),
    [
        pytest.param(100, 0.0, 0.005, id="rarely-worse"),
        pytest.param(300, 0.002, 0.01, id="rarely-either"),
        pytest.param(300, 0.03, 0.02, id="often-either"),
    ],
)
def test_paired_bounds_hold_at_their_confidence(rows: int, gained: float, lost: float) -> None:
    """Over every outcome each bound is wrong in at most 5 %; a bootstrap's lower one was in up to 60 %."""
    too_high = too_low = 0.0
    for won in range(30):
        for fell in range(30):
            chance = multinomial.pmf([won, fell, rows - won - fell], rows, [gained, lost, 1 - gained - lost])
            if chance > 1e-9:
                found = paired_difference(won, fell, rows, 0.95)
                too_high += chance * (found.low > gained - lost)
                too_low += chance * (found.high < gained - lost)
    assert max(too_high, too_low) <= 0.051  # score bounds are close to their level, not below it


def test_a_paired_difference_is_that_of_mcnemar_at_zero() -> None:
    """Zero is excluded exactly when McNemar's statistic exceeds the normal quantile: 3.84 = (b - c)^2 / (b + c)."""
    z = norm.ppf(0.95)
    for won, fell in ((8, 2), (10, 4), (13, 5), (12, 6)):
        found = paired_difference(won, fell, 200, 0.95)
        assert (found.low > 0) == ((won - fell) / math.sqrt(won + fell) > z)
    assert paired_difference(0, 0, 100, 0.95).low == pytest.approx(-(z**2) / (100 + z**2))


@pytest.mark.parametrize("rows", [2, 3, 40])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_the_bounds_of_a_mean_are_students_as_scipys_test_inverts_to(rows: int, confidence: float) -> None:
    """One-sided at the level each, so together scipy's two-sided interval at twice the level less one."""
    values = np.random.default_rng(rows).normal(3, 2, rows)
    found = mean(values, confidence)
    expected = ttest_1samp(values, 0.0).confidence_interval(2 * confidence - 1)
    assert found.n == rows
    np.testing.assert_allclose(
        [found.value, found.low, found.high], [values.mean(), expected.low, expected.high], rtol=1e-9
    )


def test_the_mean_of_two_sizes_at_a_high_confidence_has_bounds_that_say_nothing() -> None:
    """Student's quantile of one degree of freedom is in the thousands there, and its exponential no number."""
    found = size_mean([0.05, 1.0], 0.99995)
    assert (found.value, found.low, found.high, found.n) == (0.525, 0.0, math.inf, 2)
    assert size_mean([0.05, 1.0], 0.95).high < math.inf


def test_combined_bounds_swap_sides_with_the_sign() -> None:
    """A difference is widest downwards where the first may be lower and the second higher."""
    one, other = proportion(90, 100, 0.95), proportion(50, 60, 0.95)
    found = combined([(1.0, one), (-1.0, other)], constant=2.0)
    assert found.value == pytest.approx(2 + 0.9 - 5 / 6)
    assert found.value - found.low == pytest.approx(math.hypot(one.value - one.low, other.high - other.value))
    assert found.high - found.value == pytest.approx(math.hypot(one.high - one.value, other.value - other.low))
    assert found.n == 60


def test_no_rows_prove_nothing() -> None:
    """Without rows the bounds are as wide as can be and the value is no number."""
    estimate = proportion(0, 0, 0.95)
    assert math.isnan(estimate.value)
    assert (estimate.low, estimate.high) == (0.0, 1.0)
    assert quantile([], 0.99, 0.95).high == math.inf
    assert paired_difference(0, 0, 0, 0.95).low == -1.0
    assert bootstrap(lambda rows: float(len(rows)), 0, 0.95).low == -math.inf


def test_impossible_counts_are_refused() -> None:
    """More successes than rows is an error, not a share above one."""
    with pytest.raises(ValueError, match="11 successes of 10 rows"):
        proportion(11, 10, 0.95)


@pytest.mark.parametrize("q", [0.5, 0.99], ids="q={}".format)
def test_quantile_upper_bound_holds_at_its_confidence(q: float) -> None:
    """In 2,000 samples of 400 exponential times the upper bound falls below the truth in at most 6.5 %."""
    generator = np.random.default_rng(11)
    truth = -math.log(1 - q)
    misses = [quantile(generator.exponential(size=400), q, 0.95).high < truth for _ in range(2000)]
    assert np.mean(misses) <= 0.065


def test_quantile_of_too_few_values_has_no_upper_bound() -> None:
    """The 99th percentile cannot be bounded from 100 values at 95 %, so a gate on it cannot pass."""
    assert quantile(np.arange(100), 0.99, 0.95).high == math.inf
    assert quantile(np.arange(299), 0.99, 0.95).high == 298


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200), st.floats(0.05, 0.95))
def test_quantile_value_lies_between_its_bounds(values: list[float], q: float) -> None:
    """The value is one of the data and the bounds enclose it."""
    estimate = quantile(values, q, 0.9)
    assert estimate.value in values
    assert estimate.low <= estimate.value <= estimate.high


def test_bootstrap_bounds_of_a_mean_match_the_normal_ones() -> None:
    """For the mean of 400 normal values the bounds are within a tenth of the exact half-width."""
    values = np.random.default_rng(3).normal(10, 2, 400)
    estimate = bootstrap(lambda rows: float(values[rows].mean()), 400, 0.95, resamples=4000)
    half = 1.645 * values.std() / 20
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_bootstrap_repeats_with_its_seed() -> None:
    """The same seed gives the same bounds, another seed others."""
    values = np.random.default_rng(5).normal(size=50)

    def bounds(seed: int) -> tuple[float, float]:
        estimate = bootstrap(lambda rows: float(values[rows].mean()), 50, 0.95, seed=seed, resamples=200)
        return estimate.low, estimate.high

    assert bounds(1) == bounds(1) != bounds(2)


@given(at_least=st.floats(0.5, 0.995), confidence=st.sampled_from([0.9, 0.95, 0.99]))
def test_rows_to_prove_is_the_smallest_test_set_that_can_pass(at_least: float, confidence: float) -> None:
    """A flawless model passes with that many rows and not with one fewer."""
    n = rows_to_prove(at_least, confidence)
    assert proportion(n, n, confidence).low >= at_least - 1e-12
    assert n == 1 or proportion(n - 1, n - 1, confidence).low < at_least
