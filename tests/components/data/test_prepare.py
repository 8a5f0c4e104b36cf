"""Prepare without features: splits on disk, columns fitted on training rows, and the drift reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from sextant_components.data.encoding import fit_columns
from sextant_components.data.ingest import run_ingest
from sextant_components.data.prepare import run_prepare
from sextant_components.data.tables import (
    GROUP_COLUMN,
    SPLITS,
    feature_matrix,
    groups_of,
    read_classes,
    read_columns,
    read_rows,
    read_split,
    read_splits_info,
    slice_values,
)
from sextant_components.data.verify import run_verify
from sextant_plan.bundle import Column
from sextant_plan.errors import DataError
from sextant_plan.ledger import read_run
from sextant_plan.reference import PICTURE_FEATURES, read_reference
from sextant_plan.verdicts import Verdict
from sextant_serving.preprocessing import encode_columns


def _prepare(workshop: Any) -> tuple[Path, Verdict]:
    context = workshop.open()
    paths = {"snapshot": context.run / "s", "verified": context.run / "v"}
    run_ingest(context, snapshot=paths["snapshot"])
    run_verify(context, **paths)
    return context.run, run_prepare(context, **paths, splits=context.run / "p")


def test_splits_cover_the_kept_rows_once(workshop: Any) -> None:
    """Every kept row is in exactly one split, with its class and the plan's shares."""
    run, verdict = _prepare(workshop)
    tables = [read_split(run / "p", name) for name in SPLITS]
    rows = read_rows(run / "s")
    assert verdict is Verdict.PASS
    assert sorted(row for table in tables for row in table["row_id"]) == list(range(60))
    assert [table.height for table in tables] == [33, 12, 15]
    classes = read_classes(run / "p")
    for table in tables:
        assert set(table["label"]) == set(classes) == {"dim", "grey", "pale"}
        assert table["label"].to_list() == rows["label"].gather(table["row_id"]).to_list()
        assert [classes[index] for index in table["label_index"]] == table["label"].to_list()
        assert slice_values(table, "site") == rows["site"].gather(table["row_id"]).to_list()


def test_what_prepare_fits_is_the_training_rows_alone(workshop: Any) -> None:
    """The written default is the training rows' median, which is not that of all rows, and the profile counts them."""
    run, _ = _prepare(workshop)
    rows = read_rows(run / "s")
    train = rows["weight"].gather(read_split(run / "p", "train")["row_id"])
    (weight,) = [column for column in read_columns(run / "p") if column.name == "weight"]
    assert weight.default == train.median() != rows["weight"].median()
    profiled = {feature.name: sum(feature.counts) for feature in read_reference(run / "p" / "reference.json").features}
    assert profiled["weight"] == train.len() < rows.height


def test_two_runs_prepare_the_same_splits(workshop: Any) -> None:
    """The sealed rows are a property of the data, not of the run."""
    first, _ = _prepare(workshop)
    workshop.table = workshop.table.reverse()
    second, _ = _prepare(workshop)
    assert read_splits_info(first / "p") == read_splits_info(second / "p")
    assert read_split(first / "p", "sealed").equals(read_split(second / "p", "sealed"))


def test_sealed_rows_are_the_same_ones_whatever_is_said_of_them(workshop: Any) -> None:
    """A corrected label or a further column makes no new budget of looks for rows that were seen; other rows do."""
    run, _ = _prepare(workshop)
    first, sealed = read_splits_info(run / "p").sealed_digest, read_split(run / "p", "sealed")
    train = read_split(run / "p", "train")
    one, other = (train.filter(pl.col("label") == label)["row_id"][0] for label in ("dim", "grey"))
    workshop.replace("kind", one, "grey")
    workshop.replace("kind", other, "dim")
    workshop.table = workshop.table.with_columns(note=pl.lit("seen twice"))
    run, _ = _prepare(workshop)
    assert read_split(run / "p", "sealed")["item"].to_list() == sealed["item"].to_list()
    assert read_splits_info(run / "p").sealed_digest == first
    workshop.table = workshop.table.filter(~pl.col("item").is_in(sealed["item"][:3].implode()))
    run, _ = _prepare(workshop)
    assert read_splits_info(run / "p").sealed_digest != first


def test_a_group_stays_in_one_split(workshop: Any) -> None:
    """Rows of one batch are never on two sides."""
    workshop.plan["data"]["group"] = "batch"
    run, _ = _prepare(workshop)
    sides = [set(read_split(run / "p", name)["batch"]) for name in SPLITS]
    assert sum(map(len, sides)) == 30 == len(set.union(*sides))


def test_splits_say_which_rows_were_kept_together(workshop: Any) -> None:
    """Rows of a batch, and of two batches of one item, have the same group, and no other row has it."""
    workshop.plan["data"]["group"] = "batch"
    workshop.replace("item", 40, "I-010")
    run, _ = _prepare(workshop)
    rows, found = read_rows(run / "s"), dict[int, int]()
    for name in SPLITS:
        split = read_split(run / "p", name)
        groups = groups_of(split)
        assert groups is not None
        found |= dict(zip(split["row_id"].to_list(), groups.tolist(), strict=True))
    batches, items = rows["batch"].to_list(), rows["item"].to_list()
    joined = {batch for batch, item in zip(batches, items, strict=True) if item == "I-010"}
    assert len(joined) == 2
    for row, group in found.items():
        own = {other for other in found if batches[other] == batches[row] or {batches[other], batches[row]} <= joined}
        assert {other for other, another in found.items() if another == group} == own
        assert group == min(own)


def test_splits_without_groups_still_read(workshop: Any) -> None:
    """Splits that an earlier version wrote have no such column: every row is its own group, as where none has two."""
    run, _ = _prepare(workshop)
    split = read_split(run / "p", "sealed")
    assert groups_of(split) is None
    assert groups_of(split.drop(GROUP_COLUMN)) is None


def test_near_duplicates_stay_in_one_split(workshop: Any) -> None:
    """Six pictures that are one but for a grey level, of six entities: the sealed rows would be known to the model."""
    first = np.asarray(Image.open(workshop.data / "images" / "000.png"))
    for row in range(3, 18, 3):
        changed = first.copy()
        changed[row % 16, 0] ^= 1
        Image.fromarray(changed).save(workshop.data / "images" / f"{row:03d}.png")
    run, _ = _prepare(workshop)
    alike = {f"I-{row:03d}" for row in range(0, 18, 3)}
    held = [len(alike & set(read_split(run / "p", name)["item"])) for name in SPLITS]
    assert sorted(held) == [0, 0, 6]


def test_split_columns_are_what_the_server_computes(workshop: Any) -> None:
    """The stored numbers are those of `encode_columns` over the table's own rows."""
    run, _ = _prepare(workshop)
    columns, rows = read_columns(run / "p"), read_rows(run / "s")
    for name in SPLITS:
        split = read_split(run / "p", name)
        requests = rows.filter(pl.col("row_id").is_in(split["row_id"].implode())).to_dicts()
        np.testing.assert_array_equal(feature_matrix(split, columns), encode_columns(requests, columns))


def test_vocabulary_and_default_come_from_training_rows_alone(workshop: Any) -> None:
    """What only other rows hold is unknown to the model, and does not move its defaults."""
    plan = workshop.open().plan
    train = pl.DataFrame({"site": ["south", None, "south"], "weight": [1.0, None, 9.0]})
    assert fit_columns(plan, train) == [
        Column(name="site", vocabulary=["south"]),
        Column(name="weight", default=5.0),
    ]


def test_a_key_is_no_category(workshop: Any) -> None:
    """A column of a thousand and one values is refused as a model input, by name."""
    plan = workshop.open().plan
    train = pl.DataFrame({"site": [f"s{row}" for row in range(1001)], "weight": [1.0] * 1001})
    with pytest.raises(DataError, match="column site: 1001 different values"):
        fit_columns(plan, train)


def test_the_reference_counts_the_training_rows(workshop: Any) -> None:
    """Each input, and each statistic of the pictures, has every training row in a bin."""
    run, _ = _prepare(workshop)
    reference = read_reference(run / "p" / "reference.json")
    counts = {feature.name: sum(feature.counts) for feature in reference.features}
    assert counts == dict.fromkeys(("site", "weight", *PICTURE_FEATURES), 33)
    assert sum(reference.classes.values()) == 33
    assert next(feature.edges for feature in reference.features if feature.name == "site") == [0.5, 1.5]


def test_larger_windows_are_counted_in_finer_bins(workshop: Any) -> None:
    """A plan that judges windows of 500 rows sees smaller shifts."""
    workshop.plan["monitoring"] = {"min_rows": 500}
    run, _ = _prepare(workshop)
    bins = {feature.name: len(feature.counts) for feature in read_reference(run / "p" / "reference.json").features}
    assert {bins[name] for name in PICTURE_FEATURES} == {25}


def test_a_split_by_time_says_how_many_sealed_rows_are_of_the_training_s_time(workshop: Any) -> None:
    """Two rows an hour apart are one group, but for a group of the first and the last row, which is sealed whole."""
    workshop.plan["data"]["group"] = "batch"
    workshop.plan["evaluation"]["split_by"] = "time"
    workshop.replace("batch", 0, "B-29")
    run, _ = _prepare(workshop)
    newest = read_split(run / "p", "train")["seen"].max()
    assert (read_split(run / "p", "sealed")["seen"] <= newest).sum() == 1
    recorded = next(record.value for record in read_run(run)["prepare"] if record.task == "splits")
    assert isinstance(recorded, dict)
    assert recorded["sealed_rows_within_the_training_time"] == 1


def test_a_class_without_a_future_is_refused_by_a_split_by_time(workshop: Any) -> None:
    """It would be sealed in no row, and no figure would tell."""
    workshop.plan["evaluation"]["split_by"] = "time"
    for row in range(6):
        workshop.replace("kind", row, "black")
    with pytest.raises(DataError, match=r"class black would not be tested.*before and after the cut, split by content"):
        _prepare(workshop)


def test_a_class_in_one_group_is_refused_by_name_and_rows(workshop: Any) -> None:
    """A label that could only be tested, or only trained, stops the run."""
    workshop.replace("kind", 9, "black")
    with pytest.raises(DataError, match=r"class black would not be tested: its 1 kept rows \(row_id 9\) form 1 group"):
        _prepare(workshop)
