"""The anytime-valid tests hold their level over many looks and find what they are meant to find."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sextant_plan.sequential import (
    Look,
    MeanDifference,
    RatioTest,
    ShiftTest,
    Side,
    difference_bounds,
    limit_log_e,
    overdispersion,
    rate_bounds,
    shift_size_bounds,
)

PROOF = math.log(20)  # alpha 5 %
RUNS, LOOKS = 300, 100
# 5 % of 300 runs is 15; 99.9 % of tests at a true level of 5 % see at most 28.
TOLERATED = 28


def looks(seed: int, canary: float, stable: float, *, share: float = 0.05, size: int = 1000) -> list[Look]:
    generator = np.random.default_rng(seed)
    n_c = generator.binomial(size, share, LOOKS)
    x_c, x_s = generator.binomial(n_c, canary), generator.binomial(size - n_c, stable)
    return [Look(int(n), int(a), int(size - n), int(b)) for n, a, b in zip(n_c, x_c, x_s, strict=True)]


def first_proof(test: RatioTest, stream: list[Look]) -> int | None:
    for index, look in enumerate(stream):
        test.update(look)
        if test.log_e > PROOF:
            return index
    return None


def count(runs: int, proves: Callable[[int], bool]) -> int:
    return sum(proves(seed) for seed in range(runs))


def test_equal_arms_are_rarely_called_harmful() -> None:
    """Over 100 looks at equal error rates harm is proved in at most about 5 % of rollouts."""
    false = count(RUNS, lambda seed: first_proof(RatioTest(1.0, Side.HARM), looks(seed, 0.02, 0.02)) is not None)
    assert false <= TOLERATED


def test_a_baseline_that_rises_with_the_weight_is_no_harm() -> None:
    """Share 5 % at rate 0.5 %, then 50 % at 2 %: pooled counts would call it harm every time."""

    def proves(seed: int) -> bool:
        stream = looks(seed, 0.005, 0.005)[:50] + looks(seed + 999, 0.02, 0.02, share=0.5)[:50]
        return first_proof(RatioTest(1.0, Side.HARM), stream) is not None

    assert count(RUNS, proves) <= TOLERATED


def _bursty(seed: int, rate: float, correlation: float) -> list[Look]:
    """Looks of 50 canary and 950 stable requests whose bad events come in bursts: a beta rate for each look and arm."""
    generator, spread = np.random.default_rng(seed), 1 / correlation - 1
    rates = generator.beta(rate * spread, (1 - rate) * spread, (LOOKS, 2))
    return [Look(50, int(generator.binomial(50, c)), 950, int(generator.binomial(950, s))) for c, s in rates]


def test_bursts_make_no_harm_where_their_size_is_known() -> None:
    """F1 at a correlation of 0.05 within a look: without the divisor bursts pass for harm, with it they do not."""

    def proves(seed: int, correlation: float) -> bool:
        test = RatioTest(1.0, Side.HARM)
        for look in _bursty(seed, 0.05, 0.05):
            test.dispersion = overdispersion(look, correlation)
            test.update(look)
            if test.log_e > PROOF:
                return True
        return False

    assert count(150, lambda seed: proves(seed, 0.05)) <= 18  # 99.9 % at a true level of 5 % over 150 runs
    assert count(150, lambda seed: proves(seed, 0.0)) > 18


def test_a_fourfold_error_rate_is_found_quickly() -> None:
    """0.5 % to 2 % at a share of 5 % is proved within 30,000 requests in nine of ten rollouts."""
    found = [first_proof(RatioTest(1.0, Side.HARM), looks(seed, 0.02, 0.005)) for seed in range(100)]
    assert sum(index is not None and index < 30 for index in found) >= 90


def test_a_canary_on_the_limit_is_rarely_called_safe() -> None:
    """At twice the stable rate the proof that the ratio is below 2 comes in at most about 5 % of rollouts."""
    false = count(RUNS, lambda seed: first_proof(RatioTest(2.0, Side.SAFE), looks(seed, 0.02, 0.01)) is not None)
    assert false <= TOLERATED


def test_an_equal_canary_is_found_safe() -> None:
    """At equal rates of 2 % and half the traffic, a ratio below 2 is proved in nine of ten rollouts."""
    found = count(50, lambda s: first_proof(RatioTest(2.0, Side.SAFE), looks(s, 0.02, 0.02, share=0.5)) is not None)
    assert found >= 45


def test_a_silent_arm_changes_nothing() -> None:
    """Silence is no evidence, neither good nor bad."""
    test = RatioTest(1.0, Side.HARM)
    test.update(Look(0, 0, 500, 3))
    test.update(Look(500, 400, 0, 0))
    assert test.log_e == 0.0


def test_more_bad_events_than_requests_are_refused() -> None:
    """Counters that contradict each other never become evidence."""
    with pytest.raises(ValueError, match="at most as many"):
        Look(10, 11, 10, 0)


@given(n=st.integers(1, 10_000), correlation=st.floats(0, 0.1))
def test_bursts_never_add_evidence(n: int, correlation: float) -> None:
    """The divisor is 1 without bursts and grows with them."""
    look = Look(n, 0, 10 * n, 0)
    assert overdispersion(look, 0.0) == pytest.approx(1.0)
    assert overdispersion(look, correlation) >= overdispersion(look, correlation / 2) - 1e-9


@pytest.mark.parametrize(("side", "rate"), [(Side.HARM, 0.01), (Side.SAFE, 0.01)], ids=["harm", "safe"])
def test_a_rate_on_its_limit_proves_neither_side(side: Side, rate: float) -> None:
    """At exactly 1 % against a limit of 1 % each side is proved in at most about 5 % of runs."""

    def proves(seed: int) -> bool:
        totals = np.random.default_rng(seed).binomial(200, rate, LOOKS).cumsum()
        return any(limit_log_e(int(x), 200 * (k + 1), rate, side) > PROOF for k, x in enumerate(totals))

    assert count(RUNS, proves) <= TOLERATED


def test_the_limit_test_finds_both_a_breach_and_compliance() -> None:
    """2 % over a limit of 1 % is harm, 0.3 % is safe, and neither is called the other."""
    assert limit_log_e(200, 10_000, 0.01, Side.HARM) > PROOF > limit_log_e(200, 10_000, 0.01, Side.SAFE)
    assert limit_log_e(30, 10_000, 0.01, Side.SAFE) > PROOF > limit_log_e(30, 10_000, 0.01, Side.HARM)


@given(n=st.integers(1, 10**8), limit=st.floats(1e-4, 0.9999))
def test_a_canary_without_a_miss_is_never_proved_harmful(n: int, limit: float) -> None:
    """Nor one that only misses proved safe: the tail of so many rows underflows, and that is no evidence."""
    assert limit_log_e(0, n, limit, Side.HARM) <= 0
    assert limit_log_e(n, n, limit, Side.SAFE) <= 0


@given(x=st.integers(0, 500), extra=st.integers(0, 5000), alpha=st.floats(0.001, 0.2))
def test_rate_bounds_enclose_the_observed_rate(x: int, extra: int, alpha: float) -> None:
    """The bounds are shares, in order, around the observed one, and narrow with a larger alpha."""
    n = x + extra
    low, high = rate_bounds(x, n, alpha)
    assert 0 <= low <= high <= 1
    if n:
        assert low <= x / n <= high
        wide_low, wide_high = rate_bounds(x, n, alpha / 2)
        assert wide_low <= low + 1e-12
        assert high <= wide_high + 1e-12


def test_rate_bounds_hold_at_every_look() -> None:
    """The true rate leaves the bounds at any of 100 looks in at most about 5 % of runs."""

    def leaves(seed: int) -> bool:
        totals = np.random.default_rng(seed).binomial(100, 0.05, LOOKS).cumsum()
        bounds = (rate_bounds(int(x), 100 * (k + 1), 0.05) for k, x in enumerate(totals))
        return any(not low <= 0.05 <= high for low, high in bounds)

    assert count(150, leaves) <= 18  # 99.9 % of tests at a true level of 5 % over 150 runs see at most 18


def test_difference_bounds_tell_harm_from_none() -> None:
    """A difference of 4 points over a tolerance of 1 is proved, and none is proved harmless within it."""
    assert difference_bounds((500, 10_000), (100, 10_000), 0.05)[0] > 0.01
    assert difference_bounds((1_000, 100_000), (1_000, 100_000), 0.05)[1] < 0.01


def test_mean_difference_holds_while_the_baseline_drifts() -> None:
    """Zero stays inside the bounds although both arms' means rise and the weight changes midway."""

    def leaves(seed: int) -> bool:
        generator, sequence = np.random.default_rng(seed), MeanDifference()
        for k in range(LOOKS):
            sizes = (50, 950) if k < LOOKS // 2 else (500, 500)
            values = [generator.normal(k / 20, 1, size) for size in sizes]
            sequence.update(
                (float(sizes[0]), float(sizes[1])),
                (float(values[0].mean()), float(values[1].mean())),
                (float(values[0].var()), float(values[1].var())),
            )
            low, high = sequence.bounds(0.025)
            if not low <= 0 <= high:
                return True
        return False

    assert count(100, leaves) <= 14  # 99.9 % at a true level of 5 % over 100 runs see at most 13


def test_mean_difference_finds_a_drop() -> None:
    """Accuracy 0.88 against 0.92 over 20,000 labelled rows an arm is below zero beyond doubt."""
    sequence = MeanDifference()
    for _ in range(20):
        sequence.update((1000.0, 1000.0), (0.88, 0.92), (0.88 * 0.12, 0.92 * 0.08))
    low, high = sequence.bounds(0.05)
    assert -0.06 < low < -0.04 < high < 0


def test_no_look_leaves_the_difference_open() -> None:
    """Without data every difference is possible."""
    assert MeanDifference().bounds(0.05) == (-math.inf, math.inf)
    assert shift_size_bounds([0, 0], [5, 5], 0.05) == (0.0, math.inf)


def test_equal_class_shares_are_rarely_called_a_shift() -> None:
    """Ten classes, equal shares: a shift is proved in at most about 5 % of rollouts."""
    shares = np.array([0.3, 0.2, 0.12, 0.1, 0.08, 0.06, 0.05, 0.04, 0.03, 0.02])

    def proves(seed: int) -> bool:
        generator, test = np.random.default_rng(seed), ShiftTest(10)
        for _ in range(LOOKS):
            test.update(generator.multinomial(50, shares), generator.multinomial(950, shares))
            if test.log_e > PROOF:
                return True
        return False

    assert count(RUNS, proves) <= TOLERATED


def test_a_shift_of_the_classes_is_found_quickly() -> None:
    """F5: a fifth of the largest class moved to the smallest is proved within 20,000 requests, nine times of ten."""
    base = np.array([0.4, 0.3, 0.2, 0.1])
    moved = np.array([0.32, 0.3, 0.2, 0.18])

    def proves(seed: int) -> bool:
        generator, test = np.random.default_rng(seed), ShiftTest(4)
        for _ in range(20):
            test.update(generator.multinomial(100, moved), generator.multinomial(900, base))
            if test.log_e > PROOF:
                return True
        return False

    assert count(100, proves) >= 90


def test_a_shift_of_the_classes_is_found_and_sized() -> None:
    """Half the mass reversed is proved, and its size is bounded from both sides."""
    base = np.array([0.3, 0.2, 0.12, 0.1, 0.08, 0.06, 0.05, 0.04, 0.03, 0.02])
    moved = 0.5 * base + 0.5 * base[::-1]
    generator, test = np.random.default_rng(2), ShiftTest(10)
    for _ in range(40):
        test.update(generator.multinomial(500, moved), generator.multinomial(500, base))
    assert test.log_e > PROOF
    true = float(((moved - base) * np.log(moved / base)).sum())
    low, high = shift_size_bounds(test.canary, test.stable, 0.05)
    assert 0.1 < low <= true <= high


def test_a_breach_of_the_limit_is_found_quickly() -> None:
    """F2: 2 % against a limit of 1 % is proved within 5,000 requests in nine of ten rollouts."""

    def proves(seed: int) -> bool:
        totals = np.random.default_rng(seed).binomial(100, 0.02, 50).cumsum()
        return any(limit_log_e(int(x), 100 * (k + 1), 0.01, Side.HARM) > PROOF for k, x in enumerate(totals))

    assert count(100, proves) >= 90


def _difference_leaves(seed: int, canary: float, stable: float, tolerance: float) -> bool:
    generator = np.random.default_rng(seed)
    bad_c, bad_s = generator.binomial(50, canary, LOOKS).cumsum(), generator.binomial(450, stable, LOOKS).cumsum()
    pairs = ((int(a), 50 * (k + 1), int(b), 450 * (k + 1)) for k, (a, b) in enumerate(zip(bad_c, bad_s, strict=True)))
    return any(difference_bounds((a, n), (b, m), 0.05)[0] > tolerance for a, n, b, m in pairs)


def test_a_difference_on_its_tolerance_is_rarely_called_harm() -> None:
    """F3: one point over stable, with one tolerated, at any of 100 looks; a rise of eight points is always found."""
    assert count(60, lambda seed: _difference_leaves(seed, 0.03, 0.02, 0.01)) <= 9  # 99.9 % of 60 at 5 % see at most 9
    assert count(20, lambda seed: _difference_leaves(seed, 0.10, 0.02, 0.01)) >= 18


def _accuracy_bounds(seed: int, canary: float, stable: float) -> list[tuple[float, float]]:
    """Bounds on the canary's accuracy minus stable's after each of 100 looks of 50 and 450 labelled rows."""
    generator, sequence, found = np.random.default_rng(seed), MeanDifference(), []
    for _ in range(LOOKS):
        right = generator.binomial(50, canary) / 50, generator.binomial(450, stable) / 450
        sequence.update((50.0, 450.0), right, (right[0] * (1 - right[0]), right[1] * (1 - right[1])))
        found.append(sequence.bounds(0.05))
    return found


def test_an_accuracy_on_its_tolerance_is_rarely_called_worse() -> None:
    """F4: two points below stable, with two tolerated: harm needs a difference that is certainly below."""
    # The first looks have few errors, so the asymptotic bounds wait for 20 of them in an arm, as in practice.
    false = count(150, lambda seed: any(high < -0.02 for _, high in _accuracy_bounds(seed, 0.90, 0.92)[5:]))
    assert false <= 18


def test_a_worse_accuracy_is_found_and_an_equal_one_cleared() -> None:
    """F4: six points below is harm, none below is no harm, each in nine of ten rollouts."""
    worse = count(30, lambda seed: any(high < -0.02 for _, high in _accuracy_bounds(seed, 0.86, 0.92)))
    equal = count(30, lambda seed: any(low > -0.02 for low, _ in _accuracy_bounds(seed, 0.92, 0.92)))
    assert min(worse, equal) >= 27


def test_the_size_of_a_shift_stays_within_its_bounds() -> None:
    """F6: over looks of one weight the true index leaves the bounds in at most about 5 % of rollouts."""
    base = np.array([0.4, 0.3, 0.2, 0.1])
    moved = np.array([0.3, 0.3, 0.2, 0.2])
    true = float(((moved - base) * np.log(moved / base)).sum())

    def leaves(seed: int) -> bool:
        generator = np.random.default_rng(seed)
        canary = generator.multinomial(50, moved, LOOKS).cumsum(axis=0)
        stable = generator.multinomial(450, base, LOOKS).cumsum(axis=0)
        bounds = (shift_size_bounds(c, s, 0.05) for c, s in zip(canary, stable, strict=True))
        return any(not low <= true <= high for low, high in bounds)

    assert count(100, leaves) <= 13


def test_a_small_and_a_large_shift_are_told_from_the_limit() -> None:
    """F6: no shift is proved to be under 0.2, and one of 0.8 over it, from 20,000 canary rows."""
    base = np.array([0.4, 0.3, 0.2, 0.1])
    generator = np.random.default_rng(3)
    stable = generator.multinomial(180_000, base)
    assert shift_size_bounds(generator.multinomial(20_000, base), stable, 0.05)[1] < 0.2
    assert shift_size_bounds(generator.multinomial(20_000, base[::-1]), stable, 0.05)[0] > 0.2
