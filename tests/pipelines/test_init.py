"""`sextant init` turns data of three kinds into a plan that `sextant check` accepts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sextant_components.data.table_files import read_table
from sextant_plan.loading import load_plan
from sextant_plan.schema import Plan
from sextant_plan.unanswered import BUSINESS, WHY_ML, YOUR_NAME, YOUR_TEAM

Sextant = Callable[..., Any]


def _plan(sextant: Sextant, data: Path, out: Path, *options: str) -> Plan:
    result = sextant("init", data, "-o", out, *options)
    assert result.code == 0, result.err
    assert sextant("check", out).code == 0
    return load_plan(out)


@pytest.mark.parametrize("kind", ["picture_folder", "pictures_with_table", "table"])
def test_a_written_plan_is_warned_of_nothing_but_what_only_its_user_can_say(
    kind: str, sextant: Sextant, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """For each kind of data, with the licence confirmed: no fault, one warning, and none once it is answered."""
    out = tmp_path / "plan.yaml"
    _plan(sextant, request.getfixturevalue(kind), out, "--confirm-licence", "CC0-1.0")
    assert sextant("check", out).err == (
        "warning: owner.team, owner.approvers, goal.business, goal.why_ml: still as sextant init wrote it. "
        "Say it in your own words: the dossier says so too\n"
    )
    text = out.read_text(encoding="utf-8").replace(YOUR_TEAM, "orchard").replace(YOUR_NAME, "ada")
    out.write_text(text.replace(BUSINESS, "Sort fruit.").replace(WHY_ML, "Nobody knows the rules."), encoding="utf-8")
    assert sextant("check", out).err == ""


def test_class_folders_become_an_image_plan(sextant: Sextant, picture_folder: Path, tmp_path: Path) -> None:
    """Size and colour come from the pictures, sides rounded to multiples of 8."""
    plan = _plan(sextant, picture_folder, tmp_path / "plan.yaml")
    assert plan.name == "fruit"
    assert plan.model.task == "image-classification"
    assert plan.model.inputs.image is not None
    image = plan.model.inputs.image
    assert (image.height, image.width, image.channels) == (16, 16, 3)
    assert (tmp_path / plan.data.source / (plan.data.images or "")).resolve() == picture_folder


def test_a_table_that_names_pictures_becomes_a_fusion_plan(
    sextant: Sextant, pictures_with_table: Path, tmp_path: Path
) -> None:
    """The picture column, its folder, the label by its usual name, the key, and the columns a model may read."""
    plan = _plan(sextant, pictures_with_table, tmp_path / "plan.yaml")
    assert (plan.data.table, plan.data.images, plan.data.image) == ("index.csv", "shots", "file")
    assert (plan.data.label, plan.data.entity) == ("target", "part_id")
    assert plan.model.task == "image-tabular-classification"
    assert plan.model.inputs.columns == ["weight", "colour"]


def test_a_table_becomes_a_tabular_plan(sextant: Sextant, table: Path, tmp_path: Path) -> None:
    """Label last with few values, a repeated id as the group, time, gaps, truth values and awkward categories."""
    plan = _plan(sextant, table, tmp_path / "plan.yaml")
    rules = plan.data.columns
    assert (plan.data.label, plan.data.entity) == ("quality", "sample_id")
    assert (plan.data.group, plan.data.timestamp) == ("patient_id", "taken_at")
    assert plan.model.inputs.columns == ["Alcohol %", "sold", "colour"]
    assert rules["Alcohol %"].required is False
    assert rules["sold"].type == "boolean"
    assert rules["colour"].values == ["no", "red", "white's"]
    assert rules["patient_id"].type == "text"


def test_a_label_of_many_numbers_becomes_a_regression_plan(sextant: Sextant, tmp_path: Path) -> None:
    """The task, the baseline and criteria on errors, with a limit below the error of answering the mean."""
    data = tmp_path / "data"
    data.mkdir()
    rows = [f"{row},{row % 17},{20 + row * 0.5}" for row in range(300)]
    (data / "prices.csv").write_text("part_id,weight,target\n" + "\n".join(rows) + "\n", encoding="utf-8")
    plan = _plan(sextant, data / "prices.csv", tmp_path / "plan.yaml")
    assert plan.model.task == "tabular-regression"
    assert plan.goal.baseline.kind == "mean"
    limits = {criterion.metric: criterion.limit for criterion in plan.criteria if criterion.relative_to is None}
    labels = [20 + row * 0.5 for row in range(300)]
    middle = sum(labels) / len(labels)
    assert 0 < limits["mae"] < sum(abs(label - middle) for label in labels) / len(labels)


def test_training_is_not_allowed_until_somebody_confirms(sextant: Sextant, table: Path, tmp_path: Path) -> None:
    """Nobody's licence is guessed: the plan says unconfirmed, and both commands say what to do."""
    out = tmp_path / "plan.yaml"
    assert "--confirm-licence" in sextant("init", table, "-o", out).err
    assert load_plan(out).data.licence.allows_training is False
    assert "legal heading" in sextant("check", out).err


def test_the_confirmed_licence_is_named(sextant: Sextant, table: Path, tmp_path: Path) -> None:
    """The flag's value stands in the plan, where the evidence finds it."""
    plan = _plan(sextant, table, tmp_path / "plan.yaml", "--confirm-licence", "CC-BY-4.0")
    assert (plan.data.licence.name, plan.data.licence.allows_training) == ("CC-BY-4.0", True)


def test_the_label_can_be_named(sextant: Sextant, table: Path, tmp_path: Path) -> None:
    """`--label` wins over the guess."""
    assert _plan(sextant, table, tmp_path / "plan.yaml", "--label", "sold").data.label == "sold"


def test_a_label_that_is_no_column_is_refused_with_the_columns(sextant: Sextant, table: Path, tmp_path: Path) -> None:
    """The message lists what there is."""
    result = sextant("init", table, "-o", tmp_path / "plan.yaml", "--label", "grade")
    assert result.code == 2
    assert "quality" in result.err


def test_an_unrecognisable_label_is_asked_for(sextant: Sextant, tmp_path: Path) -> None:
    """A last column of free numbers is no label, and no plan is written."""
    path = tmp_path / "free.csv"
    path.write_text("a,b\n" + "\n".join(f"{i},{i * 1.5}" for i in range(100)) + "\n", encoding="utf-8")
    result = sextant("init", path, "-o", tmp_path / "plan.yaml")
    assert result.code == 2
    assert "--label" in result.err
    assert not (tmp_path / "plan.yaml").exists()


def test_a_plan_is_not_overwritten_unless_asked(sextant: Sextant, table: Path, tmp_path: Path) -> None:
    """The user's edits are safe from a second init."""
    out = tmp_path / "plan.yaml"
    out.write_text("mine", encoding="utf-8")
    assert sextant("init", table, "-o", out).code == 2
    assert out.read_text(encoding="utf-8") == "mine"
    assert sextant("init", table, "-o", out, "--force").code == 0


def test_the_suggested_limit_is_provable_from_the_sealed_rows(sextant: Sextant, table: Path, tmp_path: Path) -> None:
    """The limit lies below what the sealed rows prove without an error, and min_n below what their groups are worth."""
    from sextant_plan.bounds import alike_rows, proportion

    plan = _plan(sextant, table, tmp_path / "plan.yaml")
    patients = read_table(table)["patient_id"].rank("dense").to_numpy()
    sealed = int(alike_rows(patients) * plan.evaluation.sealed_split)
    accuracy = plan.criteria[0]
    assert accuracy.min_n <= sealed < 300 * plan.evaluation.sealed_split
    assert accuracy.limit < proportion(sealed, sealed, accuracy.confidence).low
    assert "Rows of one patient_id may be alike" in (tmp_path / "plan.yaml").read_text(encoding="utf-8")


def test_a_folder_that_a_run_would_refuse_is_refused_at_once(sextant: Sextant, picture_folder: Path) -> None:
    """A class without pictures and a file of no class are named before a plan is written."""
    (picture_folder / "plum").mkdir()
    result = sextant("init", picture_folder, "-o", picture_folder.parent / "plan.yaml")
    assert (result.code, "plum: the class's folder has no picture" in result.err) == (2, True)
    (picture_folder / "plum").rmdir()
    (picture_folder / "readme.txt").write_text("fruit", encoding="utf-8")
    result = sextant("init", picture_folder, "-o", picture_folder.parent / "plan.yaml")
    assert (result.code, f"any other file out of {picture_folder}" in result.err) == (2, True)


def test_an_absent_picture_does_not_make_a_plan_without_pictures(
    sextant: Sextant, pictures_with_table: Path, tmp_path: Path
) -> None:
    """A column that names pictures of which one is absent is a fault of the data, not a text column."""
    absent = pictures_with_table / "shots" / "7.png"
    absent.unlink()
    result = sextant("init", pictures_with_table, "-o", tmp_path / "plan.yaml")
    assert (result.code, f"{absent}: no such picture, though column file names it" in result.err) == (2, True)


@pytest.mark.parametrize(
    ("strays", "type_", "words"),
    [(1, "number", "the run leaves their rows out"), (30, "text", "or the model does not read the column")],
    ids=["a slip", "many"],
)
def test_words_among_numbers_are_pointed_out(
    strays: int, type_: str, words: str, sextant: Sextant, tmp_path: Path
) -> None:
    """A slip leaves the column a number; many words make it text, and the plan says what that means."""
    rows = [f"{'n/a' if index < strays else index / 7},{index % 2}" for index in range(200)]
    table = tmp_path / "scales.csv"
    table.write_text("\n".join(["weight,depth,label", *(f"{index}.5,{row}" for index, row in enumerate(rows))]) + "\n")
    out = tmp_path / "plan.yaml"
    plan = _plan(sextant, table, out)
    assert plan.data.columns["depth"].type == type_
    assert f"values that are no numbers: {strays}; " in out.read_text(encoding="utf-8")
    assert words in out.read_text(encoding="utf-8")
