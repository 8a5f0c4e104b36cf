"""Slices that nobody declared: a seeded weakness is found by name, and chance is not."""

from __future__ import annotations

import numpy as np

from sextant_components.evaluation.slice_search import search_slices

ROWS = 600


def _columns(generator: np.random.Generator) -> dict[str, list[object]]:
    return {
        "site": generator.choice(["north", "south", "east"], ROWS).tolist(),
        "lamp": generator.choice(["new", "old"], ROWS).tolist(),
        "weight": generator.normal(size=ROWS).tolist(),
        "key": [f"row-{row}" for row in range(ROWS)],
    }


def test_a_weakness_in_a_pair_of_values_is_found_and_named() -> None:
    """Only old lamps in the north fail; neither value alone is told, and the rest is as good as it was."""
    generator = np.random.default_rng(6)
    columns = _columns(generator)
    weak = np.asarray(
        [s == "north" and lamp == "old" for s, lamp in zip(columns["site"], columns["lamp"], strict=True)]
    )
    right = generator.random(ROWS) < np.where(weak, 0.6, 0.97)
    found = search_slices(right, columns).found
    assert found[0].slice == "site=north and lamp=old"
    assert found[0].n == weak.sum()
    assert found[0].value < found[0].high < found[0].elsewhere


def test_chance_is_rarely_taken_for_a_weakness() -> None:
    """Where every row fails alike, at most one search in twenty finds anything, within three sigma of 300 searches."""
    generator = np.random.default_rng(7)
    false = 0
    for _ in range(300):
        columns = {name: values for name, values in _columns(generator).items() if name != "weight"}
        false += bool(search_slices(generator.random(ROWS) < 0.9, columns).found)
    assert false <= 300 * 0.05 + 3 * np.sqrt(300 * 0.05 * 0.95)


def test_a_key_is_no_slice_and_few_rows_are_not_tried() -> None:
    """A text column with a value for each row, and values of fewer than twenty rows, are left alone."""
    columns = {"key": [str(row) for row in range(ROWS)], "rare": ["a"] * 590 + ["b"] * 10}
    assert search_slices(np.ones(ROWS, dtype=np.bool_), columns).tried == 0
