"""When retraining is due."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from sextant_monitoring.launcher import TimeWindow, WindowVerdict, is_retrain_due, request_id
from sextant_plan.schema import Retrain
from sextant_plan.verdicts import Verdict

HOUR = 3600.0
VERDICTS = st.lists(st.sampled_from(Verdict), max_size=12)
POLICIES = st.integers(1, 8).flatmap(lambda m: st.integers(1, m).map(lambda n: Retrain(n_of_last=(n, m), cooldown=0)))


def _history(verdicts: Sequence[Verdict]) -> list[WindowVerdict]:
    return [WindowVerdict(TimeWindow(i * HOUR, (i + 1) * HOUR), verdict) for i, verdict in enumerate(verdicts)]


@given(VERDICTS, POLICIES)
def test_it_is_due_exactly_when_n_of_the_last_m_fail_and_the_latest_does(
    verdicts: list[Verdict], policy: Retrain
) -> None:
    """The plan's rule, counted the slow way."""
    n, m = policy.n_of_last
    failed = [verdict == Verdict.FAIL for verdict in verdicts[max(0, len(verdicts) - m) :]]
    expected = failed.count(True) >= n and failed[-1:] == [True]
    assert is_retrain_due(_history(verdicts), policy, last_start=None) == expected


@given(VERDICTS, POLICIES, st.randoms())
def test_the_order_in_which_windows_are_told_does_not_matter(
    verdicts: list[Verdict], policy: Retrain, random: Random
) -> None:
    """Windows are placed by their time."""
    history = _history(verdicts)
    shuffled = list(history)
    random.shuffle(shuffled)
    assert is_retrain_due(shuffled, policy, last_start=None) == is_retrain_due(history, policy, last_start=None)


@given(VERDICTS, POLICIES, st.data())
def test_a_window_that_nobody_saw_takes_its_place(
    verdicts: list[Verdict], policy: Retrain, data: st.DataObject
) -> None:
    """To leave unknown windows out of the history, but for the latest, changes nothing."""
    history = _history(verdicts)
    silent = [each for each in history[:-1] if each.verdict is Verdict.UNKNOWN and data.draw(st.booleans())]
    seen = [each for each in history if each not in silent]
    assert is_retrain_due(seen, policy, last_start=None) == is_retrain_due(history, policy, last_start=None)


@given(VERDICTS, st.integers(1, 8))
def test_unknown_windows_alone_start_nothing(verdicts: list[Verdict], span: int) -> None:
    """Silence is no violation."""
    quiet = [Verdict.UNKNOWN if verdict is Verdict.FAIL else verdict for verdict in verdicts]
    assert not is_retrain_due(_history(quiet), Retrain(n_of_last=(1, span), cooldown=0), last_start=None)


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_nothing_starts_within_the_cooldown(cooldown: float, age: float) -> None:
    """Every window fails, and still a second retraining waits for the cooldown to pass."""
    history = _history([Verdict.FAIL] * 5)
    now = history[-1].window.end
    policy = Retrain(n_of_last=(3, 5), cooldown=cooldown)
    assert is_retrain_due(history, policy, last_start=now - age) == (now - (now - age) >= cooldown)


def test_the_same_window_always_makes_the_same_request() -> None:
    """Two watchers that see one window fail ask for one retraining; the next window is another request."""
    first, second = TimeWindow(0, HOUR), TimeWindow(HOUR, 2 * HOUR)
    assert request_id("sha256:a", "drift", first) == request_id("sha256:a", "drift", first)
    names = {request_id("sha256:a", "drift", first), request_id("sha256:a", "drift", second)}
    assert len(names | {request_id("sha256:b", "drift", first), request_id("sha256:a", "accuracy", first)}) == 4
