"""Verify: what is dropped, what is judged, and that a changed snapshot is not used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from sextant_components.data.ingest import run_ingest
from sextant_components.data.tables import read_rows
from sextant_components.data.verify import read_kept, run_verify
from sextant_plan.errors import InfrastructureError
from sextant_plan.verdicts import Verdict


def _verify(workshop: Any) -> tuple[Any, Path, Verdict]:
    context = workshop.open()
    run_ingest(context, snapshot=context.run / "s")
    return context, context.run, run_verify(context, snapshot=context.run / "s", verified=context.run / "v")


def _fixes(run: Path) -> list[tuple[str, str]]:
    """Return (image, rule) of each line of fixes.jsonl."""
    images = read_rows(run / "s")["image"]
    lines = (run / "v" / "fixes.jsonl").read_text(encoding="utf-8").splitlines()
    return sorted((images[line["row_id"]], line["rule"]) for line in map(json.loads, lines))


def test_sound_data_is_kept_whole(workshop: Any) -> None:
    """Nothing is dropped without a reason."""
    _, run, verdict = _verify(workshop)
    assert verdict is Verdict.PASS
    assert read_kept(run / "v") == list(range(60))
    assert _fixes(run) == []


def test_each_broken_rule_drops_its_row_and_says_so(workshop: Any) -> None:
    """Type, range and allowed values are checked in every row, and too many bad rows fail the step."""
    workshop.table = workshop.table.with_columns(pl.col("weight").cast(pl.String))
    workshop.replace("weight", 0, "heavy")
    workshop.replace("weight", 1, "-5")
    workshop.replace("weight", 2, "5000")
    workshop.replace("site", 3, "moon")
    workshop.replace("site", 4, None)
    _, run, verdict = _verify(workshop)
    assert verdict is Verdict.FAIL
    assert _fixes(run) == [
        ("000.png", "weight.type"),
        ("001.png", "weight.min"),
        ("002.png", "weight.max"),
        ("003.png", "site.values"),
        ("004.png", "site.required"),
    ]
    assert len(read_kept(run / "v")) == 55


def test_unique_keeps_the_first_of_equal_values(workshop: Any) -> None:
    """A rule `unique` drops the repetition, not the original."""
    workshop.plan["data"]["columns"]["batch"] = {"type": "text", "unique": True}
    _, run, _ = _verify(workshop)
    assert len(read_kept(run / "v")) == 30
    assert {rule for _, rule in _fixes(run)} == {"batch.unique"}


def test_unreadable_pictures_are_dropped_and_too_many_fail(workshop: Any, records: Any) -> None:
    """A picture is decoded as the server would; a text with a picture's name is none."""
    (workshop.data / "images" / "005.png").write_bytes(b"not a picture")
    whole = (workshop.data / "images" / "006.png").read_bytes()
    (workshop.data / "images" / "006.png").write_bytes(whole[: len(whole) // 2])
    context, run, verdict = _verify(workshop)
    assert verdict is Verdict.FAIL
    assert _fixes(run) == [("005.png", "picture"), ("006.png", "picture")]
    assert records(context, "verify")["readable pictures"].value["dropped"] == 2


def _twin(workshop: Any, of: int, row: int) -> None:
    pictures = workshop.data / "images"
    (pictures / f"{row:03d}.png").write_bytes((pictures / f"{of:03d}.png").read_bytes())
    for column in ("site", "weight"):
        workshop.replace(column, row, workshop.table[column][of])


def test_a_repeated_picture_counts_once(workshop: Any, records: Any) -> None:
    """Of rows with equal inputs and one label the first is kept, and both enter the duplicate rate."""
    workshop.plan["criteria"].append({"id": "twins", "metric": "duplicate_rate", "at_most": 0.01, "min_n": 10})
    _twin(workshop, of=0, row=6)
    context, run, verdict = _verify(workshop)
    assert len(read_kept(run / "v")) == 59
    record = records(context, "verify")["duplicate rate"]
    assert record.value == pytest.approx(2 / 60)
    assert (record.criterion, record.verdict, verdict) == ("twins", Verdict.UNKNOWN, Verdict.UNKNOWN)


def test_equal_inputs_with_different_labels_are_all_dropped(workshop: Any) -> None:
    """Nobody can tell which of two contradicting labels is right."""
    _twin(workshop, of=0, row=1)
    _, run, verdict = _verify(workshop)
    assert verdict is Verdict.FAIL
    assert _fixes(run) == [("000.png", "contradiction"), ("001.png", "contradiction")]


@pytest.mark.parametrize(("at_most", "verdict"), [(0.1, Verdict.PASS), (0.0001, Verdict.FAIL)], ids=["few", "many"])
def test_missing_rate_is_judged_by_its_criterion(workshop: Any, records: Any, at_most: float, verdict: Verdict) -> None:
    """One weight in sixty is missing: within 0.1, and proved to be over 0.0001."""
    workshop.plan["criteria"].append({"id": "gaps", "metric": "missing_rate", "at_most": at_most, "min_n": 10})
    context, _, whole = _verify(workshop)
    record = records(context, "verify")["missing rate"]
    assert record.value == pytest.approx(1 / 60)
    assert (record.verdict, whole) == (verdict, verdict)


def test_a_label_that_stands_in_one_row_fails(workshop: Any, records: Any) -> None:
    """A class needs rows to train, to validate and to seal."""
    workshop.replace("kind", 9, "black")
    context, _, verdict = _verify(workshop)
    assert verdict is Verdict.FAIL
    assert records(context, "verify")["rows a class"].value["scarce"] == {"black": 1}


def test_a_column_that_is_the_label_fails(workshop: Any, records: Any) -> None:
    """The answer under another name is found before a model is trained on it."""
    workshop.table = workshop.table.with_columns(pl.col("kind").alias("answer"))
    workshop.plan["data"]["columns"]["answer"] = {"type": "category"}
    workshop.plan["model"]["inputs"]["columns"].append("answer")
    context, _, verdict = _verify(workshop)
    assert verdict is Verdict.FAIL
    assert records(context, "verify")["leakage of the label"].value == {"leaking": ["answer"]}


def _of_numbers(workshop: Any, **columns: list[float]) -> None:
    """Make the plan a regression of `grams` on the other columns, without pictures."""
    workshop.table = workshop.table.drop("image", "site", "weight", "kind").with_columns(
        pl.Series(name, values) for name, values in columns.items()
    )
    inputs = [name for name in columns if name != "grams"]
    data = {key: value for key, value in workshop.plan["data"].items() if key != "images"}
    workshop.plan["data"] = {**data, "label": "grams", "columns": {name: {"type": "number"} for name in columns}}
    workshop.plan["model"] |= {
        "task": "tabular-regression",
        "inputs": {"columns": inputs},
        "candidates": [{"architecture": "gradient-boosting"}],
    }
    workshop.plan["goal"]["baseline"] = {"kind": "mean"}
    workshop.plan["criteria"] = [{"id": "mae", "metric": "mae", "at_most": 50}]
    del workshop.plan["evaluation"]["slices"]


def test_of_numbers_that_hardly_repeat_only_those_in_step_with_the_label_are_it(workshop: Any, records: Any) -> None:
    """Sixty labels beside sixty other values are one to one by nature; in another unit they are the label."""
    generator = np.random.default_rng(1)
    grams = generator.normal(500, 90, 60).tolist()
    sides = (np.asarray(grams) / 10 + generator.normal(0, 4, 60)).tolist()
    ounces = [(7000 - value) / 28.35 for value in grams]
    quarters = [float(round(value / 250)) for value in grams]
    _of_numbers(workshop, grams=grams, side=sides, shortfall=ounces, quarters=quarters)
    context, _, verdict = _verify(workshop)
    assert verdict is Verdict.FAIL
    assert records(context, "verify")["leakage of the label"].value == {"leaking": ["shortfall"]}


@pytest.mark.parametrize("file", ["rows.parquet", "images.parquet"])
def test_a_changed_snapshot_is_not_used(workshop: Any, file: str) -> None:
    """A snapshot is immutable: one changed value stops the run."""
    context = workshop.open()
    run_ingest(context, snapshot=context.run / "s")
    path = context.run / "s" / file
    stored = pl.read_parquet(path)
    column = "weight" if file == "rows.parquet" else "data"
    values = stored[column].to_list()
    values[2] = 1.25 if column == "weight" else b"other"
    stored.with_columns(pl.Series(column, values, dtype=stored[column].dtype)).write_parquet(path)
    with pytest.raises(InfrastructureError, match=f"{file}: not what ingest wrote"):
        run_verify(context, snapshot=context.run / "s", verified=context.run / "v")


def test_label_errors_of_many_rows_are_looked_for_in_a_sample(
    workshop: Any, records: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row compared with every other takes minutes: a draw bounds it, and the record says of how many rows."""
    monkeypatch.setattr("sextant_components.data.suspects.labels.MAX_ROWS", 45)
    context = workshop.open()
    run_ingest(context, snapshot=context.run / "s")
    run_verify(context, snapshot=context.run / "s", verified=context.run / "v")
    found = records(context, "verify")
    assert found["label issue rate"].n == 45
    assert "of 45 rows drawn at random from 60" in found["label issue rate"].qa_method
    assert found["outlier rate"].n == 60
