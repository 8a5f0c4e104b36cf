"""The parcels as data: repeatable, balanced, without the answer in the table, with time in order."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sextant_examples.parcels.measures import BODIES, make_measures
from sextant_examples.parcels.render import DARK_HALL, View, render_picture
from sextant_examples.parcels.rules import by_measure
from sextant_examples.parcels.suppliers import CLASSES, KNOWN, NEWCOMER
from sextant_examples.parcels.table import DAYS, FIRST_DAY, Passage, make_passages
from sextant_examples.parcels.write import write_parcels

ROWS = 4000


@pytest.fixture(scope="module")
def passages() -> list[Passage]:
    """A table of parcels without its pictures."""
    return make_passages(ROWS, seed=11)


def _digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_one_seed_gives_the_same_bytes_however_many_draw(tmp_path: Path) -> None:
    """Two runs, one of them over two processes, write identical files."""
    write_parcels(tmp_path / "one", rows=60, seed=3)
    write_parcels(tmp_path / "two", rows=60, seed=3, workers=2)
    found = _digests(tmp_path / "one")
    assert len(found) == 62
    assert found == _digests(tmp_path / "two")


def test_only_a_resent_picture_repeats_its_bytes(tmp_path: Path) -> None:
    """Of 334 rows the camera sent one picture twice; a second passage and every other row is a picture of its own."""
    write_parcels(tmp_path, rows=334, seed=3)
    pictures = Counter(name for path, name in _digests(tmp_path).items() if path.endswith(".jpg"))
    assert sorted(pictures.values())[-2:] == [1, 2]


def test_another_seed_gives_other_pictures() -> None:
    """The seed is used."""
    view = View("mug", "alder")
    assert render_picture(view, (1, 0)) != render_picture(view, (2, 0))


def test_no_class_is_rare(passages: list[Passage]) -> None:
    """Eight classes, none less than half as frequent as an equal share."""
    counts = Counter(passage.label for passage in passages)
    assert set(counts) == set(CLASSES)
    assert min(counts.values()) > ROWS / len(CLASSES) / 2


def test_every_supplier_sends_every_class(passages: list[Passage]) -> None:
    """The supplier alone does not tell what is inside."""
    assert {(p.supplier, p.content) for p in passages} == {(s.name, c) for s in KNOWN for c in CLASSES}


def test_names_and_ids_do_not_tell_the_label(tmp_path: Path) -> None:
    """Nothing but the label's own column spells the label, and the rows come in the order of time."""
    write_parcels(tmp_path, rows=40, seed=5)
    with (tmp_path / "table.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    others = " ".join(value for row in rows for name, value in row.items() if name != "label")
    assert not any(label in others for label in CLASSES)
    assert [row["event_time"] for row in rows] == sorted(row["event_time"] for row in rows)
    assert [row["image"] for row in rows] == [f"{index:06d}.jpg" for index in range(40)]


def test_price_and_supplier_alone_do_not_separate_the_classes(passages: list[Passage]) -> None:
    """The likeliest class of each supplier and price band is right for less than half of the parcels."""
    bands: dict[tuple[str, int], Counter[str]] = {}
    for passage in passages:
        band = (passage.supplier, int(np.log(passage.price or 1.0) * 2))
        bands.setdefault(band, Counter())[passage.label] += 1
    assert sum(counts.most_common(1)[0][1] for counts in bands.values()) / len(passages) < 0.5


def test_sixty_days_of_working_hours(passages: list[Passage]) -> None:
    """Times are UTC, in the hall's hours, over the whole period."""
    days = {(passage.time - FIRST_DAY).days for passage in passages}
    assert all(passage.time.tzinfo is UTC for passage in passages)
    assert len(days & set(range(DAYS))) == DAYS


def test_a_parcel_that_passes_twice_has_two_pictures_and_one_resent_has_one(passages: list[Passage]) -> None:
    """Second passages are new pictures hours later; what the camera sent twice has the same bytes."""
    pictures = Counter(passage.picture for passage in passages)
    parcels = Counter(passage.parcel for passage in passages)
    assert sum(count - 1 for count in pictures.values()) == round(ROWS * 0.003)
    assert sum(count - 1 for count in parcels.values()) == round(ROWS * 0.03) + round(ROWS * 0.003)
    assert len({(passage.parcel, passage.time) for passage in passages}) == ROWS


def test_two_in_a_hundred_parcels_are_never_measured(passages: list[Passage]) -> None:
    """The feature store has to answer for parcels it does not know."""
    measured = {measure.parcel for measure in make_measures(passages, 11)}
    parcels = {passage.parcel for passage in passages}
    assert 0.01 < 1 - len(measured) / len(parcels) < 0.03


def test_measures_after_the_picture_differ_from_those_before(passages: list[Passage]) -> None:
    """A join that ignores time reads the repacked weight, so that leakage shows."""
    first = {passage.parcel: passage.time for passage in reversed(passages)}
    before: dict[str, float] = {}
    after: dict[str, float] = {}
    for measure in make_measures(passages, 11):
        (before if measure.time < first[measure.parcel] else after)[measure.parcel] = measure.weight_g
    both = before.keys() & after.keys()
    assert len(both) > 0.03 * len(first)
    assert np.median([after[parcel] / before[parcel] for parcel in both]) == pytest.approx(1.15, abs=0.02)
    assert after.keys() - before.keys(), "some parcels are measured after the picture only"


def test_a_correction_is_the_later_measure_of_the_two(passages: list[Passage]) -> None:
    """The first of two measures before the picture holds the tray; the last one is right."""
    first = {passage.parcel: passage.time for passage in reversed(passages)}
    earlier: dict[str, list[float]] = {}
    for measure in make_measures(passages, 11):
        if measure.time < first[measure.parcel]:
            earlier.setdefault(measure.parcel, []).append(measure.weight_g)
    corrected = [weights for weights in earlier.values() if len(weights) == 2]
    assert len(corrected) > 0.04 * len(first)
    assert all(wrong > right + 500 for wrong, right in corrected)


def test_the_parquet_file_has_utc_times_and_no_label(tmp_path: Path) -> None:
    """The Feast source has the entity, the time, and the four measures."""
    write_parcels(tmp_path, rows=20, seed=5)
    table = pl.read_parquet(tmp_path / "measures.parquet")
    assert table.columns == ["parcel_id", "measured_at", "weight_g", "length_cm", "width_cm", "height_cm"]
    assert table.schema["measured_at"] == pl.Datetime("us", "UTC")
    assert all(time >= datetime(2026, 3, 1, tzinfo=UTC) for time in table["measured_at"].to_list())


def test_a_dark_hall_makes_dark_pictures_of_later_parcels(tmp_path: Path) -> None:
    """The shift shows in the light alone: the order system's side follows the same rules."""
    lit = render_picture(View("bag", "alder"), (1, 2))
    dark = render_picture(View("bag", "alder", DARK_HALL), (1, 2))
    assert _brightness(dark) < 0.55 * _brightness(lit)
    later = make_passages(50, 1, "dark")
    assert {passage.supplier for passage in later} <= {supplier.name for supplier in KNOWN}
    assert min(passage.time for passage in later) > max(passage.time for passage in make_passages(50, 1)).replace(
        hour=0
    )


def test_a_new_supplier_joins_only_under_its_shift(passages: list[Passage]) -> None:
    """Two in five shifted parcels come from a supplier that no earlier table has, under ids of their own."""
    shifted = make_passages(500, 11, "new-supplier")
    share = sum(passage.supplier == NEWCOMER.name for passage in shifted) / len(shifted)
    assert 0.3 < share < 0.5
    assert not {passage.parcel for passage in shifted} & {passage.parcel for passage in passages}


def test_the_packers_rule_beats_chance_and_needs_no_measure(passages: list[Passage]) -> None:
    """With typical sides and weight the rule finds most classes; with nothing at all it still answers."""
    typical = [
        dict(zip(("length_cm", "width_cm", "height_cm"), body.sides, strict=True), weight_g=body.weight, price=90.0)
        for body in BODIES.values()
    ]
    right = sum(guess == label for guess, label in zip(by_measure(typical), BODIES, strict=True))
    assert right >= 6
    assert by_measure([{}, {"price": None, "weight_g": None}]) == ["toy-box", "toy-box"]


def _brightness(jpeg: bytes) -> float:
    import io

    from PIL import Image

    return float(np.asarray(Image.open(io.BytesIO(jpeg))).mean())
