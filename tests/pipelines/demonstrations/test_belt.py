"""Parcels on a belt: what a request carries, and the table that a retraining reads afterwards."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from sextant_pipelines.demonstrations.belt import Parcel, read_parcels, write_table

HEADER = "image,parcel_id,event_time,supplier,price,label\n"
ROW = "000000.jpg,P-1,2026-03-02T06:00:00Z,alder,{price},mug\n"
NOON = 1_772_452_800.25  # 2026-03-02, a quarter of a second past noon, UTC


@pytest.fixture
def month(tmp_path: Path) -> Path:
    """A folder of one drawn month with one parcel."""
    folder = tmp_path / "later"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "000000.jpg").write_bytes(b"picture")
    (folder / "table.csv").write_text(HEADER + ROW.format(price="12.50"), encoding="utf-8")
    return folder


def _rows(data: Path) -> list[dict[str, str]]:
    with (data / "table.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_request_carries_neither_label_nor_time(month: Path) -> None:
    """What is only known later, and the picture's name, stay behind."""
    [parcel] = read_parcels(month)
    assert parcel.fields == {"parcel_id": "P-1", "supplier": "alder", "price": "12.50"}


def test_a_missing_value_is_left_out_of_the_request(month: Path) -> None:
    """An order without a price sends none, and no empty text."""
    (month / "table.csv").write_text(HEADER + ROW.format(price=""), encoding="utf-8")
    assert "price" not in read_parcels(month)[0].fields


def test_a_month_without_pictures_has_none(month: Path) -> None:
    """Parcels of the scales alone are sent without a picture."""
    (month / "images" / "000000.jpg").unlink()
    (month / "images").rmdir()
    assert read_parcels(month)[0].picture is None


def test_the_table_holds_what_has_passed_at_its_time(month: Path, tmp_path: Path) -> None:
    """A retraining reads label, picture and the moment of passing; written again, the table is replaced."""
    [parcel] = read_parcels(month)
    write_table(tmp_path, [(parcel, NOON), (parcel, NOON)])
    write_table(tmp_path, [(parcel, NOON)])
    [row] = _rows(tmp_path)
    assert (row["event_time"], row["label"]) == ("2026-03-02T12:00:00.250000Z", "mug")
    assert (tmp_path / "images" / row["image"]).read_bytes() == b"picture"


def test_a_drawn_parcel_keeps_its_drawn_time(month: Path, tmp_path: Path) -> None:
    """The first month is written as it was drawn, beside pictures of the same name from another month."""
    first = tmp_path / "first" / "images"
    first.mkdir(parents=True)
    (first / "000000.jpg").write_bytes(b"another")
    [later] = read_parcels(month)
    write_table(tmp_path, [(Parcel(later.row, first / "000000.jpg"), None), (later, None)])
    assert [row["event_time"] for row in _rows(tmp_path)] == ["2026-03-02T06:00:00Z"] * 2
    assert len({row["image"] for row in _rows(tmp_path)}) == 2
