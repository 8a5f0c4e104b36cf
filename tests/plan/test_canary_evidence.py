"""Evidence between looks: what is kept is enough to go on, and the verdicts are those of the tests behind it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sextant_plan.canary_criteria import CanaryCriterion, CanaryTest
from sextant_plan.canary_evidence import EVENTS_FOR_MEANS, Evidence, add_look, canary_value, judge_evidence
from sextant_plan.schema import Criterion
from sextant_plan.sequential import Look, MeanDifference, RatioTest, Side
from sextant_plan.share_rule import Count
from sextant_plan.verdicts import Verdict

LIMITS = {CanaryTest.RATIO_TO_STABLE: 1.5, CanaryTest.MISSES_TO_LIMIT: 0.05, CanaryTest.MEAN_TO_STABLE: -0.05}
TESTS = list(LIMITS)  # a shift is no count of misses: test_canary_shift


def rule(test: CanaryTest, **changes: Any) -> CanaryCriterion:
    criterion = Criterion(id="c", metric="error_rate", at_most=0.05, min_n=100)
    values: dict[str, Any] = {"limit": LIMITS[test], "alpha_fail": 0.05, **changes}
    return CanaryCriterion(criterion, test, "errors", Count(()), Count(()), **values)


def gathered(held: CanaryCriterion, looks: list[Look], *, burstiness: float = 0.0) -> Evidence:
    """Add looks as a controller does that is started anew for each: only the JSON lives on."""
    text = Evidence().model_dump_json()
    for look in looks:
        text = add_look(held, Evidence.model_validate_json(text), look, burstiness=burstiness).model_dump_json()
    return Evidence.model_validate_json(text)


def looks(seed: int, canary: float, stable: float, count: int = 40) -> list[Look]:
    generator = np.random.default_rng(seed)
    return [
        Look(200, int(generator.binomial(200, canary)), 800, int(generator.binomial(800, stable))) for _ in range(count)
    ]


@pytest.mark.parametrize("test", TESTS)
def test_harm_is_proved_and_health_is_proved(test: CanaryTest) -> None:
    """8,000 rows of the canary at twenty times the stable rate, and at the same rate."""
    held = rule(test)
    assert judge_evidence(held, gathered(held, looks(1, 0.4, 0.02))) is Verdict.FAIL
    assert judge_evidence(held, gathered(held, looks(2, 0.02, 0.02))) is Verdict.PASS


@pytest.mark.parametrize("test", TESTS)
def test_a_proof_with_too_few_rows_is_no_pass(test: CanaryTest) -> None:
    """The criterion's min_n counts the canary's rows."""
    held = rule(test)
    many = held.criterion.model_copy(update={"min_n": 10**6})
    assert judge_evidence(CanaryCriterion(many, test, "errors", Count(()), Count(()), held.limit, 0.05),
                          gathered(held, looks(2, 0.02, 0.02))) is Verdict.UNKNOWN  # fmt: skip


@pytest.mark.parametrize("test", TESTS)
def test_silence_is_unknown(test: CanaryTest) -> None:
    """No look, or looks in which the canary was silent, say nothing."""
    held = rule(test)
    assert judge_evidence(held, Evidence()) is Verdict.UNKNOWN
    assert canary_value(held, Evidence()) is None
    silent = gathered(held, [Look(0, 0, 500, 3)] * 5)
    assert silent == Evidence()


def test_a_fixed_limit_needs_no_stable_version() -> None:
    """The stable arm's silence matters to comparisons alone."""
    alone = [Look(200, 80, 0, 0)] * 5
    limited, compared = rule(CanaryTest.MISSES_TO_LIMIT), rule(CanaryTest.RATIO_TO_STABLE)
    assert judge_evidence(limited, gathered(limited, alone)) is Verdict.FAIL
    assert gathered(compared, alone) == Evidence()


def test_means_wait_for_events_in_both_arms() -> None:
    """With fewer than twenty misses in an arm the sequence claims too much."""
    held = rule(CanaryTest.MEAN_TO_STABLE)
    few = gathered(held, [Look(200, 120, 800, 0)] * 20 + [Look(200, 120, 800, EVENTS_FOR_MEANS - 1)])
    assert judge_evidence(held, few) is Verdict.UNKNOWN
    assert judge_evidence(held, add_look(held, few, Look(200, 120, 800, 1), burstiness=0.0)) is Verdict.FAIL


def test_bursts_weigh_less() -> None:
    """The same looks prove less where bad events come together."""
    held = rule(CanaryTest.RATIO_TO_STABLE)
    stream = looks(3, 0.06, 0.02, 6)
    alone, bursty = (gathered(held, stream, burstiness=icc).log_wealth_harm[3] for icc in (0.0, 0.05))
    assert 0 < bursty < alone


counts = st.tuples(st.integers(1, 500), st.floats(0, 1), st.integers(1, 2000), st.floats(0, 1))


@given(st.lists(counts, min_size=1, max_size=15))
def test_what_is_kept_is_what_the_tests_would_hold(drawn: list[tuple[int, float, int, float]]) -> None:
    """Stored and read back between looks, the numbers equal those of the tests run through in one piece."""
    stream = [Look(n, round(n * p), m, round(m * q)) for n, p, m, q in drawn]
    ratio, means = rule(CanaryTest.RATIO_TO_STABLE), rule(CanaryTest.MEAN_TO_STABLE)
    test, sequence = RatioTest(ratio.limit, Side.HARM), MeanDifference()
    for look in stream:
        test.update(look)
        p, q = look.x_canary / look.n_canary, look.x_stable / look.n_stable
        sequence.update((look.n_canary, look.n_stable), (1 - p, 1 - q), (p * (1 - p), q * (1 - q)))
    np.testing.assert_allclose(gathered(ratio, stream).log_wealth_harm, test.log_wealth, rtol=1e-12, atol=1e-12)
    kept = gathered(means, stream)
    assert math.isclose(kept.weighted_difference, sequence.weighted_difference, rel_tol=1e-12, abs_tol=1e-12)
    assert math.isclose(kept.weighted_variance, sequence.weighted_variance, rel_tol=1e-12, abs_tol=1e-12)
