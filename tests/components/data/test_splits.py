"""Splits: whole groups, every class everywhere, and the same rows every time."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sextant_components.data.splits import group_rows, split_rows

Rows = list[tuple[str, int, int]]
ROWS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=60)


def _split(rows: Rows) -> tuple[list[int], list[str]]:
    groups = group_rows([key for _, key, _ in rows], [other for _, _, other in rows])
    names = [f"{label}-{key}-{other}" for label, key, other in rows]
    return groups, list(split_rows([label for label, _, _ in rows], groups, names, sealed=0.25, valid=0.2))


@given(rows=ROWS)
def test_rows_that_share_any_key_share_a_split(rows: Rows) -> None:
    """No key of either kind stands on two sides."""
    _, placed = _split(rows)
    for part in (1, 2):
        sides = defaultdict(set)
        for row, split in zip(rows, placed, strict=True):
            sides[row[part]].add(split)
        assert all(len(found) == 1 for found in sides.values())


@given(rows=ROWS, seed=st.integers(0, 1000))
def test_the_order_of_rows_does_not_matter(rows: Rows, seed: int) -> None:
    """Each row's split depends on what it is, not on where it stands."""
    order = list(range(len(rows)))
    random.Random(seed).shuffle(order)
    _, placed = _split(rows)
    _, shuffled = _split([rows[index] for index in order])
    assert shuffled == [placed[index] for index in order]


@given(keys=st.lists(st.lists(st.one_of(st.none(), st.integers(0, 8)), min_size=9, max_size=9), min_size=1, max_size=3))
def test_groups_are_the_connected_rows(keys: list[list[int | None]]) -> None:
    """The grouping equals a slow closure over shared keys."""
    rows = range(9)
    linked = [
        {a, *(b for b in rows for column in keys if column[a] is not None and column[a] == column[b])} for a in rows
    ]
    for _ in rows:
        linked = [set().union(*(linked[other] for other in near)) for near in linked]
    assert group_rows(*keys) == [min(near) for near in linked]


def test_shares_are_kept_within_each_class() -> None:
    """A quarter of each class is sealed and a fifth validates, however rare the class."""
    labels = ["often"] * 400 + ["rare"] * 20
    placed = split_rows(labels, list(range(420)), [str(row) for row in range(420)], sealed=0.25, valid=0.2)
    counts = Counter(zip(labels, placed, strict=True))
    assert (counts["often", "sealed"], counts["often", "valid"], counts["often", "train"]) == (100, 80, 220)
    assert (counts["rare", "sealed"], counts["rare", "valid"], counts["rare", "train"]) == (5, 4, 11)


@pytest.mark.parametrize(
    ("groups", "expected"),
    [(1, {"train"}), (2, {"train", "sealed"}), (3, {"train", "valid", "sealed"})],
    ids=["one", "two", "three"],
)
def test_few_groups_train_first_and_are_sealed_second(groups: int, expected: set[str]) -> None:
    """A class is never tested without being trained."""
    placed = split_rows(
        ["x"] * groups, list(range(groups)), [str(row) for row in range(groups)], sealed=0.25, valid=0.2
    )
    assert set(placed) == expected


def test_rows_of_another_class_move_nothing() -> None:
    """A class that grows leaves the others' sealed rows sealed."""
    labels = ["a"] * 50 + ["b"] * 50
    names = [f"{label}{row}" for row, label in enumerate(labels)]
    before = split_rows(labels, list(range(100)), names, sealed=0.25, valid=0.2)
    more = [*labels, *["b"] * 30]
    after = split_rows(more, list(range(130)), [*names, *(f"new{row}" for row in range(30))], sealed=0.25, valid=0.2)
    assert after[:50] == before[:50]


@given(days=st.lists(st.integers(0, 365), min_size=6, max_size=60, unique=True), data=st.data())
def test_by_time_the_future_is_sealed_whatever_its_class(days: list[int], data: st.DataObject) -> None:
    """No row that trains is newer than one that validates, and none that validates newer than a sealed one."""
    labels = data.draw(st.lists(st.sampled_from("abc"), min_size=len(days), max_size=len(days)))
    times = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day) for day in days]
    names = [str(day) for day in days]
    placed = split_rows(labels, list(range(len(days))), names, sealed=0.25, valid=0.2, times=times)
    newest = {
        split: max(at for at, where in zip(times, placed, strict=True) if where == split) for split in set(placed)
    }
    oldest = {
        split: min(at for at, where in zip(times, placed, strict=True) if where == split) for split in set(placed)
    }
    assert newest["train"] < oldest["valid"]
    assert newest["valid"] < oldest["sealed"]
