"""The training profile that drift is measured against."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sextant_plan.reference import (
    Reference,
    bin_index,
    bins_for,
    profile,
    read_reference,
    stability_index,
    write_reference,
)

FINITE = st.floats(-1e6, 1e6)
COUNTS = st.lists(st.integers(0, 1000), min_size=2, max_size=12)


@given(st.lists(FINITE, min_size=1, max_size=200), st.integers(2, 12))
def test_every_training_row_lies_in_one_bin(values: list[float], bins: int) -> None:
    """The counts add up, the edges rise, and there are no more bins than asked for."""
    reference = profile("weight", values, bins)
    assert sum(reference.counts) == len(values)
    assert len(reference.counts) == len(reference.edges) + 1 <= bins
    assert np.all(np.diff(reference.edges) > 0)


@given(st.lists(FINITE, min_size=1, max_size=200), st.lists(st.sampled_from([np.nan, np.inf, -np.inf]), max_size=5))
def test_the_counts_are_those_of_each_value_s_own_bin(values: list[float], other: list[float]) -> None:
    """Counted together or one by one, as the server does, it is the same; what is not finite is not forgotten."""
    reference = profile("weight", [*values, *other])
    single = np.bincount(bin_index([*values, *other], reference.edges), minlength=len(reference.counts))
    assert reference.counts == single.tolist()


@pytest.mark.parametrize(
    ("rows", "features", "bins"),
    [(50, 1, 10), (200, 16, 10), (300, 16, 15), (500, 16, 25), (10**6, 80, 25), (10**6, 100, 20), (10**6, 1000, 10)],
)
def test_bins_are_as_many_as_windows_fill_and_a_metrics_page_holds(rows: int, features: int, bins: int) -> None:
    """20 rows of the smallest window for each, 10 to 25, and fewer where many features have them."""
    assert bins_for(rows, features) == bins


def test_a_value_on_an_edge_belongs_to_the_upper_bin() -> None:
    """Bin i holds [edges[i-1], edges[i]), here and in the server."""
    assert bin_index([0.9, 1.0, 1.5, 2.0, 9.0], [1.0, 2.0]).tolist() == [0, 1, 1, 2, 2]


def test_what_is_not_a_number_goes_to_the_last_bin() -> None:
    """A sensor that sends nonsense shows as drift, not as nothing."""
    assert bin_index([float("nan"), float("inf"), float("-inf")], [1.0, 2.0]).tolist() == [2, 2, 0]


def test_a_column_without_a_number_cannot_be_profiled() -> None:
    """The error names the column."""
    with pytest.raises(ValueError, match="weight: no finite value"):
        profile("weight", [float("nan")])


@given(COUNTS)
def test_a_histogram_does_not_differ_from_itself(counts: list[int]) -> None:
    """The index of equal histograms is 0."""
    assert stability_index(counts, counts) == pytest.approx(0)


@given(COUNTS, st.data())
def test_the_index_is_symmetric_and_never_negative(counts: list[int], data: st.DataObject) -> None:
    """It is a sum of two divergences; empty bins keep it finite."""
    other = data.draw(st.lists(st.integers(0, 1000), min_size=len(counts), max_size=len(counts)))
    assert stability_index(counts, other) == pytest.approx(stability_index(other, counts))
    assert 0 <= stability_index(counts, other) < np.inf


def test_the_correction_takes_off_what_chance_alone_gives() -> None:
    """Over 2,000 pairs of samples of one distribution the corrected index is 0 on average; the plain one is not."""
    random = np.random.default_rng(1)
    pairs = [
        (random.multinomial(400, np.full(10, 0.1)), random.multinomial(200, np.full(10, 0.1))) for _ in range(2000)
    ]
    plain = np.mean([stability_index(a, b) for a, b in pairs])
    corrected = np.mean([stability_index(a, b, corrected=True) for a, b in pairs])
    assert plain > 0.06
    assert corrected == pytest.approx(0, abs=0.003)


def test_histograms_of_different_bins_are_not_compared() -> None:
    """The error names both shapes."""
    with pytest.raises(ValueError, match=r"\(2,\) and \(3,\)"):
        stability_index([1, 2], [1, 2, 3])


def test_a_profile_is_read_as_it_was_written(tmp_path: Path) -> None:
    """The file keeps every edge exactly."""
    values = np.random.default_rng(2).normal(size=500)
    reference = Reference(features=[profile("weight", values)], classes={"a": 400, "b": 100})
    write_reference(tmp_path / "reference.json", reference)
    assert read_reference(tmp_path / "reference.json") == reference
