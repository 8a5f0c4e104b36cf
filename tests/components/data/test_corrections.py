"""Corrections: a person's changes to single rows are replayed, recorded, and undone by removing their line."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest

from sextant_components.data.ingest import run_ingest
from sextant_components.data.suspects.recording import SUSPECTS_FILE
from sextant_components.data.tables import read_rows, read_snapshot
from sextant_components.data.verify import read_kept, run_verify
from sextant_plan.errors import DataError, PlanError


def _line(**fields: object) -> dict[str, object]:
    """Return a relabel of I-004 as grey, or what the fields make of it; a field that is None is left out."""
    line = {"entity": "I-004", "action": "relabel", "label": "dim", "author": "ada", "reason": "looked", **fields}
    return {key: value for key, value in {"date": "2026-11-23", **line}.items() if value is not None}


def _correct(workshop: Any, *lines: dict[str, object] | str) -> None:
    workshop.plan["data"]["corrections"] = "corrections.jsonl"
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    (workshop.data / "corrections.jsonl").write_text(text, encoding="utf-8")


def _rows(workshop: Any, name: str) -> pl.DataFrame:
    run_ingest(workshop.open(), snapshot=workshop.root / name)
    return read_rows(workshop.root / name)


def test_a_relabelled_row_keeps_the_label_it_was_given(workshop: Any) -> None:
    """The new label is what is learned; the old one stays beside it."""
    _correct(workshop, _line())
    row = _rows(workshop, "s").filter(pl.col("item") == "I-004").row(0, named=True)
    assert (row["label"], row["original_label"], row["correction"]) == ("dim", "grey", "relabel")


def test_a_dropped_row_is_left_out_with_its_picture(workshop: Any) -> None:
    """Every other row keeps its own picture."""
    whole = _rows(workshop, "whole")
    _correct(workshop, _line(entity=None, image="004.png", action="drop", label=None))
    rows = _rows(workshop, "s")
    assert rows["item"].to_list() == [item for item in whole["item"] if item != "I-004"]
    before = dict(zip(whole["item"], whole["image_sha256"], strict=True))
    assert [before[item] for item in rows["item"]] == rows["image_sha256"].to_list()


def test_a_removed_line_is_as_if_it_had_never_been(workshop: Any) -> None:
    """Undoing needs no backup: the source was never changed."""
    _correct(workshop)
    _rows(workshop, "before")
    _correct(workshop, _line())
    _rows(workshop, "corrected")
    _correct(workshop)
    _rows(workshop, "after")
    hashes = [read_snapshot(workshop.root / name).data_hash for name in ("before", "corrected", "after")]
    assert hashes[0] == hashes[2] != hashes[1]


def test_a_later_line_takes_the_place_of_an_earlier_one(workshop: Any, records: Any) -> None:
    """The file only grows; the last word on a row holds."""
    _correct(workshop, _line(), _line(label="pale", author="bob"))
    context = workshop.open()
    run_ingest(context, snapshot=workshop.root / "s")
    rows = read_rows(workshop.root / "s")
    assert rows.filter(pl.col("item") == "I-004")["label"].to_list() == ["pale"]
    value = records(context, "ingest")["corrections"].value
    assert (value["lines"], value["superseded"], value["relabel"]) == (2, 1, 1)


def test_corrections_stand_in_the_lineage_and_the_ledger(workshop: Any, records: Any) -> None:
    """Who changed which row and why can be read from the run, and the snapshot names the file's digest."""
    _correct(workshop, _line())
    context = workshop.open()
    run_ingest(context, snapshot=workshop.root / "s")
    record = records(context, "ingest")["corrections"]
    lineage = {item.file: item.digest for item in read_snapshot(workshop.root / "s").lineage}
    assert lineage["corrections.jsonl"] == record.value["file"] == record.artifacts["corrections.jsonl"]
    (applied,) = json.loads(context.artifacts.read_bytes(record.artifacts["applied.json"]))
    assert (applied["entity"], applied["given"], applied["author"]) == ("I-004", "grey", "ada")


def test_a_row_of_an_entity_with_several_is_named_by_its_time(workshop: Any) -> None:
    """An entity alone does not say which of its rows is meant."""
    workshop.replace("item", 5, "I-004")
    _correct(workshop, _line())
    with pytest.raises(DataError, match=r"corrections\.jsonl:1: I-004 names 2 rows\. Add the row's time"):
        _rows(workshop, "s")
    _correct(workshop, _line(time=workshop.table["seen"][4]))
    rows = _rows(workshop, "s").filter(pl.col("item") == "I-004").sort("seen")
    assert rows["label"].to_list() == ["dim", "pale"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (_line(entity="I004"), r"corrections\.jsonl:1: no row has the key I004\. Did you mean I-004\?"),
        (_line(label="gray"), r"corrections\.jsonl:1: gray is no class of the data\. Did you mean grey\?"),
        (_line(author=None), r"corrections\.jsonl:1: author: field required\. Write it as"),
        (_line(image="004.png"), r"corrections\.jsonl:1: the line: name the row by its entity or by its image"),
        (_line(label=None), r"corrections\.jsonl:1: the line: a relabel, and only that, names the new label"),
        ("{", r"corrections\.jsonl:1: not a JSON object"),
    ],
    ids=["unknown key", "unknown label", "no author", "two keys", "no label", "not JSON"],
)
def test_a_line_that_cannot_be_replayed_is_named(workshop: Any, line: dict[str, object] | str, message: str) -> None:
    """File, line and remedy."""
    _correct(workshop, line)
    with pytest.raises(DataError, match=message):
        _rows(workshop, "s")


def test_an_absent_file_is_not_taken_for_an_empty_one(workshop: Any) -> None:
    """Corrections that were lost would otherwise be undone in silence."""
    workshop.plan["data"]["corrections"] = "corrections.jsonl"
    with pytest.raises(DataError, match=r"corrections\.jsonl: no such file, which data\.corrections names"):
        _rows(workshop, "s")


def test_corrections_need_a_key_to_name_rows_by(workshop: Any) -> None:
    """Neither entity nor picture: no line could say which row it means."""
    data, model = workshop.plan["data"], workshop.plan["model"]
    for key in ("entity", "timestamp", "images"):
        del data[key]
    data["corrections"] = "corrections.jsonl"
    del model["inputs"]["image"]
    model |= {"task": "tabular-classification"}
    with pytest.raises(PlanError, match=r"data\.corrections: a correction names its row by entity or picture"):
        workshop.open()


def _suspects(workshop: Any, name: str) -> dict[int, set[str]]:
    context = workshop.open()
    run_ingest(context, snapshot=workshop.root / name)
    run_verify(context, snapshot=workshop.root / name, verified=workshop.root / f"{name}-verified")
    found: dict[int, set[str]] = {}
    for line in (workshop.root / f"{name}-verified" / SUSPECTS_FILE).read_text().splitlines():
        found.setdefault(json.loads(line)["row_id"], set()).add(json.loads(line)["check"])
    return found


def test_a_kept_row_is_suspected_no_more(workshop: Any) -> None:
    """A person has looked: the same question is not asked again. Row 3 is dim and called pale."""
    workshop.replace("kind", 3, "pale")
    assert "label" in _suspects(workshop, "before")[3]
    _correct(workshop, _line(entity="I-003", action="keep", label=None))
    assert 3 not in _suspects(workshop, "kept")


def test_a_relabelled_row_is_suspected_for_all_but_its_label(workshop: Any) -> None:
    """A new label says nothing of the row's numbers."""
    workshop.replace("weight", 3, 900.0)
    _correct(workshop, _line(entity="I-003", label="pale"))
    assert _suspects(workshop, "s")[3] == {"outlier"}


def test_a_fix_that_verification_made_is_undone_by_keep(workshop: Any) -> None:
    """A row that a rule put out comes back when a person says that it is right; the rule still puts out the others."""
    workshop.plan["data"]["columns"]["weight"]["max"] = 86  # rows 58 and 59 are heavier
    _correct(workshop, _line(entity="I-059", action="keep", label=None))
    context = workshop.open()
    run_ingest(context, snapshot=workshop.root / "s")
    run_verify(context, snapshot=workshop.root / "s", verified=workshop.root / "v")
    kept = read_kept(workshop.root / "v")
    assert 59 in kept
    assert 58 not in kept
