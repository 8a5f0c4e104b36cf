"""Where data and labels come from: metadata that other tools read, raters put to the test, costs, and row rules."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sextant_components.data.column_rules import row_violations
from sextant_components.data.ingest import run_ingest
from sextant_components.data.tables import IMAGES_FILE, ROWS_FILE, read_rows, read_snapshot
from sextant_components.data.verify import read_kept, run_verify
from sextant_plan.errors import DataError, PlanError
from sextant_plan.row_rules import RowRule, parse_row_rule

ECONOMICS = {"value_per_correct": 1, "cost_per_error": 2, "cost_per_label": 0.5, "predictions_per_day": 10}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
def test_mlcroissant_reads_a_snapshot_s_metadata(workshop: Any, tmp_path: Path) -> None:
    """The reference implementation finds no fault, and the digests are those of the files."""
    import mlcroissant

    run_ingest(workshop.open(), snapshot=tmp_path / "s")
    issues = mlcroissant.Dataset(jsonld=tmp_path / "s" / "croissant.json").metadata.issues
    assert (issues.errors, issues.warnings) == (set(), set())
    document = json.loads((tmp_path / "s" / "croissant.json").read_text())
    digests = {file["name"]: file["sha256"] for file in document["distribution"]}
    for name in (ROWS_FILE, IMAGES_FILE):
        assert digests[name] == hashlib.sha256((tmp_path / "s" / name).read_bytes()).hexdigest()
    fields = {field["name"]: field["dataType"] for field in document["recordSet"][0]["field"]}
    assert fields["rows/weight"] == "sc:Float"
    assert fields["rows/seen"] == "sc:DateTime"
    assert document["license"] == "CC0-1.0"


def test_procurement_is_recorded_with_the_cost_of_a_row(workshop: Any, tmp_path: Path, records: Any) -> None:
    """Which part is bought, and what one of its rows cost."""
    workshop.plan["data"]["procurement"] = [
        {"kind": "own", "share": 0.75, "reason": "our cameras"},
        {"kind": "bought", "share": 0.25, "cost": 30, "reason": "rare shades"},
    ]
    context = workshop.open()
    run_ingest(context, snapshot=tmp_path / "s")
    value = records(context, "ingest")["procurement"].value
    assert value["cost"] == 30
    assert [part["cost_per_row"] for part in value["parts"]] == [0, 2]


def test_shares_that_do_not_make_the_whole_are_a_fault(workshop: Any) -> None:
    """Half of the data would be of unknown origin."""
    workshop.plan["data"]["procurement"] = [{"kind": "own", "share": 0.5, "reason": "our cameras"}]
    with pytest.raises(PlanError, match=r"the shares under procurement sum to 0\.5"):
        workshop.open()


def _rated(workshop: Any, gold: list[str | None]) -> None:
    kinds = workshop.table["kind"].to_list()
    other = ["grey" if row < 4 else kind for row, kind in enumerate(kinds)]
    workshop.table = workshop.table.with_columns(
        pl.Series("r1", kinds), pl.Series("r2", other), pl.Series("known", gold, dtype=pl.String)
    )
    workshop.plan["data"]["labelling"] = {"raters": ["r1", "r2"], "gold": "known"}


def test_each_rater_is_measured_on_the_gold_items(workshop: Any, tmp_path: Path, records: Any) -> None:
    """Of ten known answers, rows 0, 2 and 3 are missed by the second rater, who calls the first four grey."""
    _rated(workshop, [kind if row < 10 else None for row, kind in enumerate(workshop.table["kind"])])
    workshop.plan["goal"]["economics"] = ECONOMICS
    context = workshop.open()
    run_ingest(context, snapshot=tmp_path / "s")
    found = records(context, "ingest")
    value = found["raters on gold items"].value
    assert value["gold_items"] == 10
    assert (value["raters"]["r1"]["accuracy"], value["raters"]["r2"]["accuracy"]) == (1.0, 0.7)
    assert value["raters"]["r2"]["low"] < 0.7 < value["raters"]["r2"]["high"]
    assert found["labelling cost"].value["labels"] == 120
    assert found["labelling cost"].value["cost"] == 60


def test_raters_are_compared_in_pairs(workshop: Any, tmp_path: Path, records: Any) -> None:
    """The second rater calls four rows grey, of which one is: kappa of three classes of twenty rows, by hand."""
    _rated(workshop, [None] * 60)
    context = workshop.open()
    run_ingest(context, snapshot=tmp_path / "s")
    found = records(context, "ingest")["raters in pairs"].value["r1 and r2"]
    agreed, expected = 57 / 60, (20 * 18 + 20 * 23 + 20 * 19) / 60**2
    assert found["kappa"] == pytest.approx((agreed - expected) / (1 - expected))
    assert found["low"] < found["kappa"] < found["high"]
    assert found["n"] == 60


def test_a_gold_answer_that_is_no_class_is_named(workshop: Any, tmp_path: Path) -> None:
    """Every rater would be wrong on it."""
    _rated(workshop, ["gray"] + [None] * 59)
    with pytest.raises(DataError, match=r"column known has gray, no class of the data\. Did you mean grey\?"):
        run_ingest(workshop.open(), snapshot=tmp_path / "s")


def test_a_row_that_breaks_a_rule_over_two_columns_is_dropped_and_named(
    workshop: Any, tmp_path: Path, records: Any
) -> None:
    """One weight lies above its row's capacity; the missing one of row 7 breaks nothing."""
    workshop.table = workshop.table.with_columns(pl.Series("capacity", [200.0] * 59 + [10.0]))
    workshop.plan["data"]["columns"]["capacity"] = {"type": "number"}
    workshop.plan["data"]["rules"] = ["weight <= capacity"]
    context = workshop.open()
    run_ingest(context, snapshot=tmp_path / "s")
    run_verify(context, snapshot=tmp_path / "s", verified=tmp_path / "v")
    assert records(context, "verify")["rule weight <= capacity"].value["dropped"] == 1
    assert 59 not in read_kept(tmp_path / "v")
    assert 7 in read_kept(tmp_path / "v")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("weight <= capacty", r"data\.rules\[0\]: capacty is not among data\.columns\. Did you mean capacity\?"),
        ("weight < site", r"data\.rules\[0\]: category and number cannot be compared"),
        ("site < site", r"data\.rules\[0\]: category columns have no order\. Use == or !="),
        ("weight", r"data\.rules\[0\]: weight is not a comparison of two columns\. Write it as: weight <= capacity"),
    ],
    ids=["unknown column", "two types", "no order", "no comparison"],
)
def test_a_rule_that_cannot_be_checked_is_a_fault_of_the_plan(workshop: Any, rule: str, message: str) -> None:
    """Before anything is run, with the name that was probably meant."""
    workshop.plan["data"]["columns"]["capacity"] = {"type": "number", "required": False}
    workshop.plan["data"]["rules"] = [rule]
    with pytest.raises(PlanError, match=message):
        workshop.open()


@pytest.mark.parametrize("text", ["a b <= c-d", "a b<=c-d", " a b  <=  c-d "])
def test_a_rule_may_name_columns_with_blanks(text: str) -> None:
    """Blanks at the ends and around the comparison are no part of a name."""
    assert parse_row_rule(text) == RowRule("a b", "<=", "c-d")


def test_times_are_compared_as_times() -> None:
    """The same instant in two zones is equal, though its text is not."""
    noon = pl.Series(["2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z", None])
    other = pl.Series(["2026-03-01T13:00:00+01:00", "2026-03-01T11:00:00Z", "2026-03-01T11:00:00Z"])
    assert row_violations(noon, "<=", other, kind="timestamp").to_list() == [False, True, False]


def test_a_split_by_time_needs_times(workshop: Any) -> None:
    """Without them there is no newest row to seal."""
    del workshop.plan["data"]["timestamp"]
    workshop.plan["evaluation"]["split_by"] = "time"
    with pytest.raises(PlanError, match=r"evaluation\.split_by: a split by time needs the rows' times"):
        workshop.open()


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_folder_may_list_its_pictures_by_a_metadata_file(workshop: Any, tmp_path: Path, form: str) -> None:
    """Hugging Face's form, file_name beside the labels, gives the same pictures and labels as the table."""
    run_ingest(workshop.open(), snapshot=tmp_path / "table")
    listed = workshop.table.select(pl.col("image").alias("file_name"), "site", "weight", "kind")
    path = workshop.data / "images" / f"metadata.{form}"
    getattr(listed, {"csv": "write_csv", "jsonl": "write_ndjson", "parquet": "write_parquet"}[form])(path)
    for key in ("table", "entity", "timestamp"):
        del workshop.plan["data"][key]
    run_ingest(workshop.open(), snapshot=tmp_path / "folder")
    table, folder = (read_rows(tmp_path / name).sort("image") for name in ("table", "folder"))
    assert table.select("image", "image_sha256", "label", "weight").equals(
        folder.select("image", "image_sha256", "label", "weight")
    )
    assert read_snapshot(tmp_path / "folder").lineage[0].file == f"images/metadata.{form}"
