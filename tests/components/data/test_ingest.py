"""Ingest: what a source becomes, and what is said of a source that cannot be used."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sextant_components.data.ingest import run_ingest
from sextant_components.data.table_files import read_table
from sextant_components.data.tables import image_bytes, read_rows, read_snapshot
from sextant_plan.errors import DataError
from sextant_plan.statistics.agreement import nominal_alpha
from sextant_plan.verdicts import Verdict


def test_snapshot_holds_every_row_and_picture_of_the_source(workshop: Any, tmp_path: Path) -> None:
    """Rows come out dense, with the label as `label`, and each with its own picture's bytes."""
    verdict = run_ingest(workshop.open(), snapshot=tmp_path / "s")
    rows = read_rows(tmp_path / "s")
    assert verdict is Verdict.PASS
    assert rows["row_id"].to_list() == list(range(60))
    assert set(rows["label"]) == {"dim", "grey", "pale"}
    assert rows["seen"].dtype == pl.Datetime("us", "UTC")
    for row_id, data in zip([3, 50, 7], image_bytes(tmp_path / "s", [3, 50, 7]), strict=True):
        assert data == (workshop.data / "images" / rows["image"][row_id]).read_bytes()


def test_data_hash_ignores_the_order_of_rows(workshop: Any, tmp_path: Path) -> None:
    """The same rows in another order are the same data."""
    run_ingest(workshop.open(), snapshot=tmp_path / "a")
    order = list(range(60))
    random.Random(1).shuffle(order)
    workshop.table = workshop.table[order]
    run_ingest(workshop.open(), snapshot=tmp_path / "b")
    assert read_snapshot(tmp_path / "a").data_hash == read_snapshot(tmp_path / "b").data_hash
    assert read_rows(tmp_path / "a").equals(read_rows(tmp_path / "b"))


@pytest.mark.parametrize("change", ["cell", "picture"])
def test_data_hash_changes_with_any_content(workshop: Any, tmp_path: Path, change: str) -> None:
    """One cell or one picture more or less is other data."""
    run_ingest(workshop.open(), snapshot=tmp_path / "a")
    if change == "cell":
        workshop.replace("weight", 3, 999.0)
    else:
        picture = workshop.data / "images" / "003.png"
        picture.write_bytes((workshop.data / "images" / "004.png").read_bytes())
    run_ingest(workshop.open(), snapshot=tmp_path / "b")
    assert read_snapshot(tmp_path / "a").data_hash != read_snapshot(tmp_path / "b").data_hash


def test_parquet_and_csv_of_the_same_table_give_the_same_rows(workshop: Any, tmp_path: Path) -> None:
    """The file's format is not part of the data."""
    run_ingest(workshop.open(), snapshot=tmp_path / "a")
    workshop.table.write_parquet(workshop.data / "table.parquet")
    workshop.plan["data"]["table"] = "table.parquet"
    run_ingest(workshop.open(), snapshot=tmp_path / "b")
    assert read_snapshot(tmp_path / "a").data_hash == read_snapshot(tmp_path / "b").data_hash


def test_leading_zeros_of_ids_survive_csv(workshop: Any, tmp_path: Path) -> None:
    """An id is text, even where it looks like a number."""
    workshop.table = workshop.table.with_columns(pl.Series("item", [f"{row:05d}" for row in range(60)]))
    run_ingest(workshop.open(), snapshot=tmp_path / "s")
    assert "00007" in read_rows(tmp_path / "s")["item"].to_list()


def _folder_plan(workshop: Any) -> Path:
    data = workshop.plan["data"]
    for key in ("table", "entity", "timestamp"):
        del data[key]
    data["columns"] = {}
    workshop.plan["model"] |= {"task": "image-classification", "candidates": [{"architecture": "small-cnn"}]}
    del workshop.plan["model"]["inputs"]["columns"]
    workshop.plan["evaluation"]["slices"] = []
    folder: Path = workshop.data / "images"
    for row in range(60):
        place = folder / ("dim", "grey", "pale")[row % 3]
        place.mkdir(exist_ok=True)
        (folder / f"{row:03d}.png").rename(place / f"{row:03d}.png")
    return folder


def test_a_folder_of_class_folders_needs_no_table(workshop: Any, tmp_path: Path) -> None:
    """Each subfolder is a class, and its pictures are the rows."""
    _folder_plan(workshop)
    run_ingest(workshop.open(), snapshot=tmp_path / "s")
    assert read_snapshot(tmp_path / "s").classes == {"dim": 20, "grey": 20, "pale": 20}


def test_an_empty_class_folder_is_named(workshop: Any, tmp_path: Path) -> None:
    """A class without pictures is a mistake, not a class less."""
    (_folder_plan(workshop) / "black").mkdir()
    with pytest.raises(DataError, match=r"images/black: the class's folder has no picture"):
        run_ingest(workshop.open(), snapshot=tmp_path / "s")


Change = Callable[[Any], None]


def _repeat_id(workshop: Any) -> None:
    workshop.replace("item", 4, "I-001")
    workshop.replace("seen", 4, workshop.table["seen"][1])


BAD_TABLES: dict[str, tuple[Change, str]] = {
    "duplicate id": (_repeat_id, r"table\.csv: column item repeats an id at one seen in data rows 2, 5"),
    "missing label column": (
        lambda w: setattr(w, "table", w.table.rename({"kind": "kinds"})),
        r"table\.csv: there is no column kind, which data\.label names\. Did you mean kinds\?",
    ),
    "missing entity column": (
        lambda w: setattr(w, "table", w.table.rename({"item": "items"})),
        r"no column item, which data\.entity names\. Did you mean items\?",
    ),
    "missing image column": (
        lambda w: setattr(w, "table", w.table.rename({"image": "picture_file"})),
        r"table\.csv: there is no column image, which data\.image names",
    ),
    "missing timestamp column": (
        lambda w: setattr(w, "table", w.table.drop("seen")),
        r"no column seen, which data\.timestamp names",
    ),
    "missing input column": (
        lambda w: setattr(w, "table", w.table.rename({"weight": "wieght"})),
        r"no column weight, which model\.inputs\.columns names\. Did you mean wieght\?",
    ),
    "label missing": (lambda w: w.replace("kind", 8, None), r"column kind is empty in data row 9"),
    "label padded": (lambda w: w.replace("kind", 2, "pale "), r"column kind has a blank at an end in data row 3"),
    "unreadable time": (
        lambda w: w.replace("seen", 5, "yesterday"),
        r"column seen has no readable time in data row 6",
    ),
    "one class only": (
        lambda w: setattr(w, "table", w.table.with_columns(pl.lit("dim").alias("kind"))),
        r"every row has the label dim",
    ),
    "no rows": (lambda w: setattr(w, "table", w.table.clear()), r"a header and no rows"),
    "absent picture": (
        lambda w: (w.data / "images" / "011.png").unlink(),
        r"images/011\.png: no such picture, named by table\.csv in data row 12; 1 are absent",
    ),
    "picture outside the folder": (
        lambda w: w.replace("image", 0, "../table.csv"),
        r"column image leaves the folder of pictures in data row 1",
    ),
    "reserved column": (
        lambda w: setattr(w, "table", w.table.with_columns(pl.lit(1).alias("row_id"))),
        r"a column is named row_id",
    ),
}


@pytest.mark.parametrize(("change", "message"), BAD_TABLES.values(), ids=BAD_TABLES.keys())
def test_a_bad_table_is_refused_by_file_column_and_row(
    workshop: Any, tmp_path: Path, change: Change, message: str
) -> None:
    """Every fault says where it is and what to do, before anything is written."""
    change(workshop)
    with pytest.raises(DataError, match=message):
        run_ingest(workshop.open(), snapshot=tmp_path / "s")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"I-9,a,b,c,d,e,f,g,h,i,j,k\n", r"table\.csv: line 3 has 12 cells and the header 2\. Quote"),
        (b"I-9,gr\xfcn\n", r"table\.csv: line 3 is not UTF-8\. Save the table as UTF-8"),
    ],
    ids=["too many cells", "another encoding"],
)
def test_an_unreadable_table_is_named_by_its_line(line: bytes, message: str, tmp_path: Path) -> None:
    """A parser's own words name neither the line nor the remedy."""
    table = tmp_path / "table.csv"
    table.write_bytes(b"item,kind\nI-1,dim\n" + line)
    with pytest.raises(DataError, match=message):
        read_table(table)


def test_a_source_that_is_not_there_is_named(workshop: Any, tmp_path: Path) -> None:
    """A wrong data.source is told as such."""
    workshop.plan["data"]["source"] = "elsewhere"
    with pytest.raises(DataError, match="elsewhere: no such folder"):
        run_ingest(workshop.open(), snapshot=tmp_path / "s")


def test_data_that_may_not_be_trained_on_fails_ingest(workshop: Any, tmp_path: Path, records: Any) -> None:
    """The licence is judged where the data comes in, whatever planning said of it."""
    workshop.plan["data"]["licence"]["allows_training"] = False
    context = workshop.open()
    assert run_ingest(context, snapshot=tmp_path / "s") is Verdict.FAIL
    assert records(context, "ingest")["licence and consent"].verdict is Verdict.FAIL


def test_alpha_agrees_with_krippendorffs_worked_example() -> None:
    """Krippendorff 2011, part C: four observers, twelve units, nominal alpha 0.743."""
    grid = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
    ]
    units = [[None if row[unit] is None else str(row[unit]) for row in grid] for unit in range(12)]
    assert nominal_alpha(units, 0.95).value == pytest.approx(0.743, abs=5e-4)


@pytest.mark.parametrize(("flips", "verdict"), [(0, Verdict.PASS), (40, Verdict.FAIL)], ids=["agree", "dispute"])
def test_disputed_labels_fail_ingest(workshop: Any, tmp_path: Path, records: Any, flips: int, verdict: Verdict) -> None:
    """Raters who disagree more than the plan allows stop the data."""
    first = workshop.table["kind"].to_list()
    second = [("grey" if kind != "grey" else "dim") if row < flips else kind for row, kind in enumerate(first)]
    workshop.table = workshop.table.with_columns(pl.Series("r1", first), pl.Series("r2", second))
    workshop.plan["data"]["labelling"] = {"raters": ["r1", "r2"], "agreement_at_least": 0.8}
    context = workshop.open()
    assert run_ingest(context, snapshot=tmp_path / "s") is verdict
    assert records(context, "ingest")["labelling agreement"].n == 60
