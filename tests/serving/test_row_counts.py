"""Rows by training bin: the same counts however the rows were divided into batches, and as soon as somebody looks."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sextant_plan.bundle import Column, read_bundle
from sextant_plan.reference import read_reference
from sextant_serving.preprocessing import picture_statistics
from sextant_serving.row_counts import ROWS_AT_ONCE, RowCounts, Seen

MakeBundle = Callable[..., Path]
ROWS = 100


@pytest.fixture(scope="module")
def bundle_of_zones(make_bundle: MakeBundle) -> Path:
    """A bundle that reads a picture, a weight and a zone of two."""
    columns = [Column(name="weight", default=2.0), Column(name="zone", vocabulary=["south", "east"])]
    return make_bundle(columns=columns)


def counts_of(bundle: Path) -> RowCounts:
    """Return counters that have seen nothing."""
    return RowCounts(read_bundle(bundle), read_reference(bundle / "reference.json"))


def rows(count: int = ROWS) -> Seen:
    """Return rows of noise, some with a missing value and some with a zone that the vocabulary lacks."""
    rng = np.random.default_rng(3)
    features = np.column_stack([rng.normal(size=count), rng.integers(0, 3, count)]).astype(np.float32)
    image = rng.integers(0, 256, (count, 8, 8, 1)).astype(np.uint8)
    return Seen(features, image, rng.dirichlet([1, 1, 1], count).astype(np.float32), rng.random(count) < 0.2)


def part(seen: Seen, start: int, stop: int, *, with_statistics: bool = False) -> Seen:
    """Return the rows from `start` to `stop`."""
    assert seen.features is not None
    assert seen.image is not None
    where = slice(start, stop)
    statistics = picture_statistics(seen.image[where]) if with_statistics else None
    return Seen(seen.features[where], seen.image[where], seen.outputs[where], seen.missing[where], statistics)


def found(counts: RowCounts) -> dict[str, Any]:
    """Return every count."""
    return {**{each.name: each.rows.tolist() for each in counts.bins()}, **counts.flaws()}


@given(cuts=st.lists(st.integers(1, ROWS - 1), unique=True), with_statistics=st.booleans())
def test_counts_do_not_depend_on_how_rows_were_batched(
    bundle_of_zones: Path, cuts: list[int], with_statistics: bool
) -> None:
    """One by one, all together or anything between, statistics of pictures known before or not."""
    counts, whole = counts_of(bundle_of_zones), counts_of(bundle_of_zones)
    edges = [0, *sorted(cuts), ROWS]
    for start, stop in pairwise(edges):
        counts.see(part(rows(), start, stop, with_statistics=with_statistics))
    whole.see(rows())
    assert found(counts) == found(whole)
    assert all(sum(bins) == ROWS for name, bins in found(whole).items() if isinstance(bins, list))


def test_a_row_is_counted_as_soon_as_somebody_looks(bundle_of_zones: Path) -> None:
    """A single row is no reason to count, and a scrape shows it all the same."""
    counts = counts_of(bundle_of_zones)
    for expected in (1, 2, 3):
        counts.see(part(rows(), expected - 1, expected))
        assert {sum(counter.rows) for counter in counts.bins()} == {expected}


def test_what_waits_to_be_counted_is_bounded(bundle_of_zones: Path) -> None:
    """However long nobody looks."""
    counts = counts_of(bundle_of_zones)
    for row in range(ROWS_AT_ONCE * 3 + 1):
        counts.see(part(rows(), row, row + 1))
        assert counts.waiting < ROWS_AT_ONCE


def test_of_a_large_picture_only_what_is_counted_waits(bundle_of_zones: Path) -> None:
    """Its grid is held, and counted as a picture is that waits for nobody."""
    one, large = part(rows(), 0, 1), np.random.default_rng(5).integers(0, 256, (1, 512, 512, 1)).astype(np.uint8)
    seen = Seen(one.features, large, one.outputs, one.missing)
    counts, at_once = counts_of(bundle_of_zones), counts_of(bundle_of_zones)
    tracemalloc.start()
    try:
        for _ in range(ROWS_AT_ONCE - 1):
            counts.see(seen)
        assert tracemalloc.get_traced_memory()[0] < large.nbytes
    finally:
        tracemalloc.stop()
    for _ in range(ROWS_AT_ONCE - 1):
        at_once.see(seen)
        at_once.bins()
    assert counts.waiting == ROWS_AT_ONCE - 1
    assert found(counts) == found(at_once)


def test_rows_that_wait_to_be_counted_keep_no_request_alive(bundle_of_zones: Path) -> None:
    """Their arrays may be views of a body of any size."""
    counts, seen = counts_of(bundle_of_zones), rows(1)
    assert seen.features is not None
    assert seen.image is not None
    features, image = seen.features, seen.image
    body = bytearray(features.tobytes() + image.tobytes())
    split = features.nbytes

    def see() -> None:
        view = memoryview(body)
        counts.see(
            Seen(
                np.frombuffer(view[:split], np.float32).reshape(features.shape),
                np.frombuffer(view[split:], np.uint8).reshape(image.shape),
                seen.outputs,
                seen.missing,
            )
        )

    see()
    assert counts.waiting == 1
    body.clear()  # raises BufferError while anything is a view of it
    expected = counts_of(bundle_of_zones)
    expected.see(seen)
    assert found(counts) == found(expected)
