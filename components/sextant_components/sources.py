"""The plan's data source as rows and pictures: a folder with one subfolder a class, a table, or both.

A folder may list its pictures itself, the way Hugging Face's image folders do: by a metadata file beside them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sextant_components.corrections import CORRECTION, ORIGINAL_LABEL, Applied, apply_corrections
from sextant_components.table_files import (
    as_booleans,
    as_instants,
    as_numbers,
    as_text,
    data_rows,
    read_table,
    require_columns,
)
from sextant_components.tables import slice_columns
from sextant_plan.canonical import digest_of_file
from sextant_plan.errors import DataError
from sextant_plan.schema import Data, Plan

if TYPE_CHECKING:
    import polars as pl

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
RESERVED = frozenset({"row_id", "image_sha256"})
METADATA_FILES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
FILE_NAME = "file_name"  # the column of a metadata file that names the picture


@dataclass(frozen=True)
class Source:
    """What was found: `rows` in the file's order with the label as `label`; `pictures` has one path a row.

    Corrections are applied already; `corrections` says which.
    """

    file: Path
    rows: pl.DataFrame
    pictures: list[Path] | None
    table_digest: str | None
    corrections: Applied | None = None


def read_source(plan: Plan, root: Path) -> Source:
    """Read the table or the folder that the plan names; pictures are only looked for, not opened.

    Raises DataError for an absent, empty or contradictory source, and for rows without label, entity or time.
    """
    if not root.is_dir():
        raise DataError(root, "no such folder", "Correct data.source in the plan, or generate the data first")
    source = _from_table(plan, root, root / plan.data.table) if plan.data.table else _from_folder(plan, root)
    if plan.data.corrections is not None:
        source = _corrected(source, plan.data, root / plan.data.corrections)
    _check_labels(source.file, source.rows, plan)
    return source


def _corrected(source: Source, data: Data, path: Path) -> Source:
    _check_text(source.file, source.rows["label"].alias(data.label), "the label")
    rows, places, applied = apply_corrections(path, source.rows, data)
    pictures = None if source.pictures is None else [source.pictures[place] for place in places]
    return replace(source, rows=rows, pictures=pictures, corrections=applied)


def _from_folder(plan: Plan, root: Path) -> Source:
    import polars as pl

    data = plan.data
    assert data.images is not None
    folder = root / data.images
    if not folder.is_dir():
        raise DataError(folder, "no such folder", "Correct data.images in the plan, or generate the data first")
    listing = next((folder / name for name in METADATA_FILES if (folder / name).is_file()), None)
    if listing is not None:
        return _from_table(plan, root, listing)
    classes = class_pictures(folder)
    pictures = [path for found in classes.values() for path in found]
    labels = [label for label, found in classes.items() for _ in found]
    names = [path.relative_to(folder).as_posix() for path in pictures]
    return Source(folder, pl.DataFrame({"label": labels, data.image: names}), pictures, None)


def class_pictures(folder: Path) -> dict[str, list[Path]]:
    """Return the pictures of each class from a folder with one subfolder a class; hidden files do not count.

    Raises DataError for a class without a picture and for a file that is no picture or of no class.
    """
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not classes:
        raise DataError(folder, "no subfolder for any class", "Put each class's pictures into a subfolder of its name")
    loose = list(_files(folder, deep=False))
    if loose:
        remedy = f"Move a picture into the folder of its class, and any other file out of {folder}"
        raise DataError(loose[0], "the file lies beside the classes' folders", remedy)
    pictures: dict[str, list[Path]] = {}
    for place in classes:
        found = sorted(_files(place, deep=True))
        if not found:
            raise DataError(place, "the class's folder has no picture", "Add pictures, or remove the folder")
        for path in found:
            if path.suffix.lower() not in PICTURE_SUFFIXES:
                raise DataError(path, "not a .png, .jpg or .jpeg file", "Convert the picture, or move the file away")
        pictures[place.name] = found
    return pictures


def _files(folder: Path, *, deep: bool) -> Iterator[Path]:
    paths = folder.rglob("*") if deep else folder.iterdir()
    return (path for path in paths if path.is_file() and not path.name.startswith("."))


def _from_table(plan: Plan, root: Path, file: Path) -> Source:
    data = plan.data
    table = read_table(file)
    if file.name in METADATA_FILES and FILE_NAME in table.columns and data.image not in table.columns:
        table = table.rename({FILE_NAME: data.image})
    require_columns(file, table.columns, needed_columns(plan))
    reserved = RESERVED | ({ORIGINAL_LABEL, CORRECTION} if data.corrections else set())
    taken = reserved & set(table.columns) or ({"label"} & set(table.columns) if data.label != "label" else set())
    if taken:
        raise DataError(file, f"a column is named {min(taken)}, which Sextant needs for its own", "Rename the column")
    rows = table.with_columns(_typed(plan, file, table)).rename({data.label: "label"})
    if data.entity:
        _check_text(file, rows[data.entity], "the entity's key")
        _check_ids(file, rows, data)
    pictures = _named_pictures(file, rows[data.image], root / data.images) if data.images else None
    return Source(file, rows, pictures, digest_of_file(file))


def needed_columns(plan: Plan) -> dict[str, str]:
    """Return each column that the plan needs, with the key that names it."""
    data = plan.data
    needed = {data.label: "data.label"}
    optional = {"data.entity": data.entity, "data.timestamp": data.timestamp, "data.group": data.group}
    if data.images:
        optional["data.image"] = data.image
    needed |= {name: key for key, name in optional.items() if name}
    needed |= dict.fromkeys(plan.model.inputs.columns, "model.inputs.columns")
    needed |= {name: "evaluation.slices" for name in slice_columns(plan) if name != data.label}
    needed |= dict.fromkeys(data.labelling.raters if data.labelling else [], "data.labelling.raters")
    needed |= {data.labelling.gold: "data.labelling.gold"} if data.labelling and data.labelling.gold else {}
    needed |= dict.fromkeys(data.sensitive, "data.sensitive")
    return needed | {name: f"data.columns.{name}" for name, rule in data.columns.items() if rule.required}


def answer_columns(data: Data) -> list[str]:
    """Return the columns that say what a person, or the gold answer, holds a row's label to be."""
    labelling = data.labelling
    if labelling is None:
        return []
    return [*labelling.raters, *([labelling.gold] if labelling.gold else [])]


def _typed(plan: Plan, file: Path, table: pl.DataFrame) -> list[pl.Series]:
    """Return every column in the type that its role or its rule gives it, or that all its values allow."""
    import polars as pl

    data = plan.data
    text = {data.image, data.entity, data.group} | ({data.label} if plan.model.answers == "class" else set())
    text |= set(answer_columns(data))
    series: list[pl.Series] = []
    for column in table.get_columns():
        rule = data.columns.get(column.name)
        kind = rule.type if rule else None
        if column.name == data.timestamp:
            series.append(as_instants(file, column))
        elif column.name in text or kind in {"category", "text"}:
            series.append(as_text(column))
        elif kind == "boolean":
            series.append(as_booleans(column))
        elif kind == "timestamp" or isinstance(column.dtype, pl.Datetime | pl.Boolean):
            series.append(column)
        else:
            series.append(as_numbers(column))
    return series


def _check_labels(file: Path, rows: pl.DataFrame, plan: Plan) -> None:
    column = rows["label"].alias(plan.data.label)
    if plan.model.answers == "number":
        _check_numbers(file, column)
        return
    _check_text(file, column, "the label")
    classes = rows["label"].unique().to_list()
    if len(classes) < 2:
        raise DataError(file, f"every row has the label {classes[0]}", "Give rows of at least two classes")


def _check_numbers(file: Path, column: pl.Series) -> None:
    """Refuse a label that is no number, or the same number, in the rows of a regression."""
    import polars as pl

    numbers = column if column.dtype == pl.Float64 else column.cast(pl.String).cast(pl.Float64, strict=False)
    bad = (~numbers.is_finite()).fill_null(value=True).arg_true().to_list()
    if bad:
        remedy = "Write a number in each row, or remove them; a label of words needs a classification"
        raise DataError(file, f"column {column.name} has no number in {data_rows(bad)}", remedy)
    if numbers.n_unique() < 2:
        raise DataError(file, f"every row has the label {numbers[0]:g}", "Give rows of different labels")


def _check_text(file: Path, column: pl.Series, what: str) -> None:
    missing = column.is_null().arg_true().to_list()
    if missing:
        raise DataError(
            file, f"column {column.name} is empty in {data_rows(missing)}", f"Give {what} in each row, or remove them"
        )
    padded = (column.str.strip_chars() != column).arg_true().to_list()
    if padded:
        raise DataError(
            file,
            f"column {column.name} has a blank at an end in {data_rows(padded)}",
            f"Remove it: with and without it, {what} would be two",
        )


def _check_ids(file: Path, rows: pl.DataFrame, data: Data) -> None:
    """Refuse two rows of one entity, or of one entity at one time where the rows have times."""
    assert data.entity is not None
    key = [data.entity] + ([data.timestamp] if data.timestamp else [])
    repeated = rows.select(key).is_duplicated().arg_true().to_list()
    if repeated:
        first = rows[data.entity][repeated[0]]
        same = [index for index in repeated if rows[data.entity][index] == first]
        at = f" at one {data.timestamp}" if data.timestamp else ""
        raise DataError(
            file,
            f"column {data.entity} repeats an id{at} in {data_rows(same)}; {len(repeated)} rows repeat one in all",
            "Keep one row for each"
            + (", or name the column of their times in data.timestamp" if not data.timestamp else ""),
        )


def _named_pictures(file: Path, column: pl.Series, folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(folder, "no such folder", "Correct data.images in the plan, or generate the data first")
    _check_text(file, column, "the picture's file")
    root = folder.resolve()
    present = {path for path in root.rglob("*") if path.is_file()}
    pictures = [root / name for name in column.to_list()]
    absent = [index for index, path in enumerate(pictures) if path not in present]
    if absent:
        path = pictures[absent[0]]
        if not path.resolve().is_relative_to(root):
            problem = f"column {column.name} leaves the folder of pictures in {data_rows(absent[:1])}"
            raise DataError(file, problem, f"Name files under {folder}")
        raise DataError(
            path,
            f"no such picture, named by {file.name} in {data_rows(absent[:1])}; {len(absent)} are absent in all",
            "Add the file, or remove the row",
        )
    return pictures
