"""The truth table of the gates: proof passes, disproof fails, everything else is unknown and blocks."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sextant_plan.errors import ExitCode
from sextant_plan.verdicts import Estimate, Verdict, exit_code, judge, worst

NUMBERS = st.floats(-1e6, 1e6)
VERDICTS = st.sampled_from(list(Verdict))


@st.composite
def estimates(draw: st.DrawFn) -> Estimate:
    """Return an estimate whose bounds enclose its value."""
    low, value, high = sorted(draw(st.tuples(NUMBERS, NUMBERS, NUMBERS)))
    return Estimate(value, low, high, draw(st.integers(0, 1000)), 0.95)


@given(estimate=estimates(), limit=NUMBERS, min_n=st.integers(1, 1000))
def test_at_least_follows_the_truth_table(estimate: Estimate, limit: float, min_n: int) -> None:
    """The upper bound below the limit fails; the lower one at it or above passes with enough rows; else unknown."""
    if estimate.high < limit:
        expected = Verdict.FAIL
    elif estimate.low >= limit and estimate.n >= min_n:
        expected = Verdict.PASS
    else:
        expected = Verdict.UNKNOWN
    assert judge(estimate, at_least=limit, at_most=None, min_n=min_n) is expected


@given(estimate=estimates(), limit=NUMBERS, min_n=st.integers(1, 1000))
def test_at_most_mirrors_at_least(estimate: Estimate, limit: float, min_n: int) -> None:
    """An upper limit judges like a lower limit on the negated quantity."""
    mirrored = Estimate(-estimate.value, -estimate.high, -estimate.low, estimate.n, estimate.confidence)
    assert judge(estimate, at_least=None, at_most=limit, min_n=min_n) is judge(
        mirrored, at_least=-limit, at_most=None, min_n=min_n
    )


@given(estimate=estimates(), limit=NUMBERS, wider=st.floats(0, 1e6))
def test_less_certainty_never_turns_into_a_pass(estimate: Estimate, limit: float, wider: float) -> None:
    """Wider bounds or fewer rows may lose a verdict but never gain `pass`."""
    vague = Estimate(estimate.value, estimate.low - wider, estimate.high + wider, estimate.n // 2, 0.95)
    if judge(vague, at_least=limit, at_most=None, min_n=100) is Verdict.PASS:
        assert judge(estimate, at_least=limit, at_most=None, min_n=100) is Verdict.PASS


@pytest.mark.parametrize(
    "estimate",
    [
        pytest.param(None, id="no estimate"),
        pytest.param(Estimate(math.nan, 0.0, 1.0, 500, 0.95), id="no value"),
        pytest.param(Estimate(0.99, math.nan, 1.0, 500, 0.95), id="lower bound not a number"),
        pytest.param(Estimate(0.99, 0.98, math.nan, 500, 0.95), id="upper bound not a number"),
        pytest.param(Estimate(0.99, math.inf, math.inf, 500, 0.95), id="lower bound beyond every number"),
        pytest.param(Estimate(0.99, -math.inf, math.inf, 500, 0.95), id="no bound on either side"),
    ],
)
def test_missing_evidence_is_unknown(estimate: Estimate | None) -> None:
    """What cannot be computed is neither a pass nor a fail, whichever side the limit is on."""
    assert judge(estimate, at_least=0.9, at_most=None, min_n=100) is Verdict.UNKNOWN
    assert judge(estimate, at_least=None, at_most=0.999, min_n=100) is Verdict.UNKNOWN


def test_a_proved_violation_fails_however_few_the_rows() -> None:
    """Fifty slow requests prove that the 99th percentile is too high, although they give it no upper bound."""
    slow = Estimate(500.0, 480.0, math.inf, 50, 0.95)
    assert judge(slow, at_least=None, at_most=50.0, min_n=300) is Verdict.FAIL


@pytest.mark.parametrize("limits", [(None, None), (0.1, 0.9)], ids=["no limit", "two limits"])
def test_a_gate_has_exactly_one_limit(limits: tuple[float | None, float | None]) -> None:
    """A criterion that says nothing, or two things, is a programming error."""
    with pytest.raises(ValueError, match="exactly one"):
        judge(None, at_least=limits[0], at_most=limits[1], min_n=1)


@given(parts=st.lists(VERDICTS, max_size=8))
def test_a_whole_is_as_good_as_its_worst_part(parts: list[Verdict]) -> None:
    """Any fail fails; else any unknown, or nothing at all, is unknown; only passes make a pass."""
    if Verdict.FAIL in parts:
        expected = Verdict.FAIL
    elif Verdict.UNKNOWN in parts or not parts:
        expected = Verdict.UNKNOWN
    else:
        expected = Verdict.PASS
    assert worst(parts) is worst(parts[::-1]) is expected


def test_every_verdict_has_its_exit_code() -> None:
    """0 pass, 1 fail, 3 unknown, as callers in other languages rely on."""
    assert [int(exit_code(verdict)) for verdict in (Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN)] == [0, 1, 3]
    assert exit_code(Verdict.UNKNOWN) is ExitCode.GATE_UNKNOWN
