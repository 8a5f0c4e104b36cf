"""A table's files are read once and again only when they change; a folder of them is one table."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sextant_components.data.ingest import run_ingest
from sextant_components.data.staged_tables import StagedTable, stage_table, store_of
from sextant_components.data.table_files import read_table, scan_table
from sextant_components.data.tables import read_rows, read_snapshot
from sextant_plan.canonical import digest_of_file
from sextant_plan.errors import DataError

LONG_AGO = (1_700_000_000, 1_700_000_000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three files of one table, a CSV, a Parquet file and one in a folder below, written long ago."""
    place = tmp_path / "table"
    (place / "more").mkdir(parents=True)
    _frame(0).write_csv(place / "a.csv")
    _frame(1).write_parquet(place / "b.parquet")
    _frame(2).write_csv(place / "more" / "c.csv")
    (place / "_SUCCESS").touch()
    for path in place.rglob("*.*"):
        os.utime(path, LONG_AGO)
    return place


def _frame(number: int) -> pl.DataFrame:
    return pl.DataFrame({"item": [f"I-{number}{row}" for row in range(4)], "weight": [1.5, None, 3.0, float(number)]})


def _rows(table: StagedTable) -> list[tuple[Any, ...]]:
    return [
        (item, None if weight is None else float(weight))
        for batch in table.batches(["item", "weight"])
        for item, weight in batch.iter_rows()
    ]


def test_only_a_file_that_changed_is_read_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file is opened by the parser once; a second time it is one that was written since, or is new."""
    opened: list[str] = []

    def counted(path: Path) -> pl.LazyFrame:
        opened.append(path.name)
        return scan_table(path)

    monkeypatch.setattr("sextant_components.data.staged_tables.scan_table", counted)
    whole = _rows(stage_table(folder, tmp_path / "home"))
    assert opened == ["a.csv", "b.parquet", "c.csv"]
    opened.clear()
    again = stage_table(folder, tmp_path / "home")
    assert (opened, again.read, _rows(again)) == ([], 0, whole)
    _frame(7).write_parquet(folder / "b.parquet")
    os.utime(folder / "b.parquet", LONG_AGO)
    _frame(8).write_csv(folder / "d.csv")
    changed = stage_table(folder, tmp_path / "home")
    assert opened == ["b.parquet", "d.csv"]
    assert [row for row in _rows(changed) if row in whole] == whole[:4] + whole[8:]
    assert changed.height == 16


def test_a_staged_file_that_was_damaged_is_made_again(folder: Path, tmp_path: Path) -> None:
    """The home's copy is believed only while it has the digest that was written down."""
    whole = _rows(stage_table(folder, tmp_path / "home"))
    next(store_of(tmp_path / "home", folder).glob("*.parquet")).write_bytes(b"damaged")
    again = stage_table(folder, tmp_path / "home")
    assert (again.read, _rows(again)) == (1, whole)


def test_partitions_named_by_their_folders_are_columns(tmp_path: Path) -> None:
    """As Hive, Spark, Polars and DuckDB write them: decoded, missing where they say so, and read anew when moved."""
    place, home = tmp_path / "table", tmp_path / "home"
    for region, day in (("e%20u", "2026-01-01"), ("__HIVE_DEFAULT_PARTITION__", "2026-01-02")):
        folder = place / f"region={region}" / f"day={day}"
        folder.mkdir(parents=True)
        _frame(int(day[-1])).write_parquet(folder / "part-0.parquet")
    for path in place.rglob("*.parquet"):
        os.utime(path, LONG_AGO)
    table = stage_table(place, home)
    found = [batch.unique(maintain_order=True).row(0) for batch in table.batches(["region", "day"])]
    assert found == [(None, "2026-01-02"), ("e u", "2026-01-01")]
    assert read_table(place).select("region", "day").unique(maintain_order=True).rows() == found
    assert stage_table(place, home).read == 0
    (place / "region=e%20u").rename(place / "region=us")
    moved = stage_table(place, home)
    assert [batch["region"][0] for batch in moved.batches(["region"])] == [None, "us"]


def test_partitions_written_by_duckdb_give_the_rows_that_were_cut(workshop: Any, tmp_path: Path) -> None:
    """The site of each row is the name of its folder alone, and the snapshot is that of the table in one file."""
    import duckdb

    run_ingest(workshop.open(), snapshot=tmp_path / "whole")
    table, parts = workshop.data / "table.csv", workshop.data / "parts"
    duckdb.execute(
        f"COPY (SELECT * FROM read_csv('{table}', all_varchar = true)) TO '{parts}' "
        "(FORMAT parquet, PARTITION_BY (site))"
    )
    workshop.plan["data"]["table"] = "parts"
    run_ingest(workshop.open(), snapshot=tmp_path / "parts")
    assert read_snapshot(tmp_path / "parts").data_hash == read_snapshot(tmp_path / "whole").data_hash


def test_a_file_outside_every_partition_is_named(tmp_path: Path) -> None:
    """Its rows would have no day."""
    (tmp_path / "table" / "day=2").mkdir(parents=True)
    _frame(0).write_csv(tmp_path / "table" / "a.csv")
    _frame(1).write_csv(tmp_path / "table" / "day=2" / "b.csv")
    with pytest.raises(DataError, match=r"b\.csv: it alone has the column day, unlike a\.csv"):
        stage_table(tmp_path / "table", tmp_path / "home")


def test_files_of_one_table_have_the_same_columns(folder: Path, tmp_path: Path) -> None:
    """A column that one of them lacks would be missing in its rows alone."""
    _frame(3).rename({"weight": "wieght"}).write_csv(folder / "d.csv")
    with pytest.raises(DataError, match=r"d\.csv: it lacks the column weight, unlike a\.csv"):
        stage_table(folder, tmp_path / "home")


def test_a_folder_of_tables_is_ingested_as_the_one_table(workshop: Any, tmp_path: Path) -> None:
    """Cut into files, in whatever form, the rows are the same data; each file stands in the lineage."""
    run_ingest(workshop.open(), snapshot=tmp_path / "whole")
    place = workshop.data / "parts"
    place.mkdir()
    workshop.table[:25].write_csv(place / "1.csv")
    workshop.table[25:].write_parquet(place / "2.parquet")
    workshop.plan["data"]["table"] = "parts"
    run_ingest(workshop.open(), snapshot=tmp_path / "parts")
    assert read_rows(tmp_path / "parts").equals(read_rows(tmp_path / "whole"))
    described = read_snapshot(tmp_path / "parts")
    assert described.data_hash == read_snapshot(tmp_path / "whole").data_hash
    assert [(item.file, item.rows) for item in described.lineage[:2]] == [("parts/1.csv", 25), ("parts/2.parquet", 35)]
    assert [item.digest for item in described.lineage[:2]] == [
        digest_of_file(workshop.data / item.file) for item in described.lineage[:2]
    ]


def test_a_column_is_numbers_only_if_every_file_says_so(workshop: Any, tmp_path: Path) -> None:
    """One word in the last file keeps the column as it was written in all of them."""
    workshop.plan["data"]["columns"]["weight"] = {"type": "text", "required": False}
    workshop.plan["model"]["inputs"]["columns"] = ["site"]
    workshop.table = workshop.table.with_columns(pl.Series("note", ["1"] * 59 + ["one"]))
    run_ingest(workshop.open(), snapshot=tmp_path / "s")
    assert read_rows(tmp_path / "s")["note"].to_list().count("1") == 59


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04" + bytes(40), r"table\.csv: the file is a zip archive, such as an Excel workbook, and no CSV"),
        ("item,kind\nI-1,dim\n".encode("utf-16"), r"table\.csv: the file is binary, or text in UTF-16"),
        (b"\x80\x81\x82\x83", r"table\.csv: line 1 is not UTF-8\. Save the table as UTF-8"),
    ],
    ids=["a workbook", "UTF-16", "bytes without a line"],
)
def test_a_binary_file_is_no_table_without_rows(content: bytes, message: str, tmp_path: Path) -> None:
    """Said to have a header and no rows, the user would look for rows in it."""
    table = tmp_path / "table.csv"
    table.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_table(table)
