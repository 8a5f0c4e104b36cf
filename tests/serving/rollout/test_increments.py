"""Raw counters between two looks: resets, restarts, newcomers, and arms that do not get their share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sextant_plan.window import Sample
from sextant_serving.rollout.increments import increments, requests, share_is_off, snapshot
from sextant_serving.rollout.ports import Reading


def reading(value: float, *, source: str = "pod-1", born: float | None = None) -> Reading:
    return Reading(source, born, (Sample("sextant_requests_total", {"code": "200"}, value),))


def counted(before: Reading | None, now: Reading, *, since: float = 100.0) -> int:
    last = snapshot({"canary": [before] if before else [], "stable": []}, {})
    return requests(increments([now], last, since=since))


def test_an_increment_is_what_came_since_the_last_look() -> None:
    """Ten before, fourteen now."""
    assert counted(reading(10), reading(14)) == 4


def test_a_counter_that_fell_counts_from_zero() -> None:
    """The server began anew and has answered three since."""
    assert counted(reading(10), reading(3)) == 3


def test_a_newcomer_counts_from_its_birth() -> None:
    """A pod that started after the last look has counted nothing else."""
    assert counted(None, reading(7, born=150.0)) == 7


@pytest.mark.parametrize("born", [None, 50.0])
def test_a_server_that_may_be_older_only_gives_a_baseline(born: float | None) -> None:
    """What it counted before it was first read may have come at another weight."""
    assert counted(None, reading(7, born=born)) == 0


def test_one_fallen_series_resets_its_whole_server() -> None:
    """A series that has already overtaken its old value would hide the restart."""
    names = ("sextant_requests_total", "sextant_request_seconds_count")
    before = Reading("pod-1", None, tuple(Sample(name, {}, 10.0) for name in names))
    now = Reading("pod-1", None, (Sample(names[0], {}, 12.0), Sample(names[1], {}, 5.0)))
    last = snapshot({"canary": [before], "stable": []}, {})
    assert [sample.value for sample in increments([now], last, since=0.0).samples] == [12.0, 5.0]


def test_a_reading_that_is_out_of_date_counts_nothing_and_is_no_baseline() -> None:
    """Of two replicas of Prometheus one may lag behind; a server that tells its start has not begun anew."""
    looks = [10, 14, 11, 16]
    last, total = snapshot({"canary": [reading(looks[0], born=50.0)], "stable": []}, {}), 0
    for value in looks[1:]:
        here = reading(value, born=50.0)
        total += requests(increments([here], last, since=100.0))
        last = snapshot({"canary": [here], "stable": []}, last)
    assert total == 6


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), min_size=1, max_size=30))
def test_nothing_is_lost_or_counted_twice_over_restarts_that_are_seen(steps: list[tuple[int, bool]]) -> None:
    """The increments add up to all requests, whichever looks lie between restarts under a new name."""
    life, value, total, now = 0, 0, 0, 0.0
    last = snapshot({"canary": [Reading("pod-0", 0.0, (Sample("sextant_requests_total", {}, 0.0),))], "stable": []}, {})
    born = 0.0
    for more, restarts in steps:
        since, now = now, now + 10.0
        if restarts:
            life, value, born = life + 1, 0, now - 5.0
        value += more
        here = Reading(f"pod-{life}", born, (Sample("sextant_requests_total", {}, float(value)),))
        total += requests(increments([here], last, since=since))
        last = snapshot({"canary": [here], "stable": []}, last)
    assert total == sum(more for more, _ in steps)


@pytest.mark.parametrize(
    ("canary", "stable", "weight", "off"),
    [
        pytest.param(52, 948, 5, False, id="by chance"),
        pytest.param(500, 500, 5, True, id="half instead of a twentieth"),
        pytest.param(0, 40, 5, False, id="none of forty"),
        pytest.param(0, 5000, 5, True, id="none of five thousand"),
    ],
)
def test_a_share_that_no_chance_explains_is_seen(canary: int, stable: int, weight: int, *, off: bool) -> None:
    """Requests that pass the route by make the comparison another one."""
    assert share_is_off(canary, stable, weight) is off
