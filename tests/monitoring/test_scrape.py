"""Scrapes and what was counted between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sextant_monitoring.scrape import Scrape, ScrapeUnreadable, parse_scrape, window_between
from sextant_plan.window import Selector

NAME = "sextant_requests_total"


def _scrape(*values: float) -> Scrape:
    return Scrape({(NAME, frozenset({("code", str(place))})): value for place, value in enumerate(values)}, {})


def _increments(before: Scrape, after: Scrape) -> list[float]:
    samples = window_between(before, after).select(Selector(NAME))
    return [sample.value for sample in sorted(samples, key=lambda sample: int(sample.labels["code"]))]


def test_a_page_is_read_into_counters_and_gauges(new_page: Callable[..., Any]) -> None:
    """Counters and a histogram's parts are cumulative; everything else is a last value."""
    page = new_page({NAME: {("200",): 7.0}}, {"0.05": 3.0, "+Inf": 4.0})
    scrape = parse_scrape(page.render())
    assert {name for name, _ in scrape.counters} == {
        NAME,
        "sextant_request_seconds_bucket",
        "sextant_request_seconds_count",
        "sextant_request_seconds_sum",
    }
    assert {name for name, _ in scrape.gauges} == {"sextant_ready"}


def test_a_page_in_another_format_is_refused_by_name() -> None:
    """HTML from a proxy is an error that names the source, not an empty scrape."""
    with pytest.raises(ScrapeUnreadable, match=r"http://here/metrics: not the Prometheus text format"):
        parse_scrape("<html lang=en><b>502</b></html>", "http://here/metrics")


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=6), st.data())
def test_without_a_restart_the_increment_is_the_difference(before: list[int], data: st.DataObject) -> None:
    """A running process only counts up."""
    added = data.draw(st.lists(st.integers(0, 10**9), min_size=len(before), max_size=len(before)))
    after = [old + more for old, more in zip(before, added, strict=True)]
    assert _increments(_scrape(*before), _scrape(*after)) == added


@given(st.integers(1, 1000), st.lists(st.integers(0, 1000), min_size=1, max_size=6), st.data())
def test_after_a_restart_everything_counts_from_zero(fell: int, others: list[int], data: st.DataObject) -> None:
    """One counter that fell proves a restart, also for those that have overtaken their old value."""
    after = data.draw(st.lists(st.integers(0, 5000), min_size=len(others), max_size=len(others)))
    left = data.draw(st.integers(0, fell - 1))
    assert _increments(_scrape(fell, *others), _scrape(left, *after)) == [left, *after]


def test_a_series_born_between_the_scrapes_counts_from_zero() -> None:
    """A status code that appears for the first time has its whole count in the window."""
    assert _increments(_scrape(5), _scrape(6, 2)) == [1, 2]
