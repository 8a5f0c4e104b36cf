"""The plan's data source as rows and pictures: a folder with one subfolder a class, a table, or both.

A folder may list its pictures itself, the way Hugging Face's image folders do: by a metadata file beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sextant_components.data.corrections import CORRECTION, ORIGINAL_LABEL, Corrections, find_corrections
from sextant_components.data.source_rows import HeldRows, Rows, typed_rows
from sextant_components.data.staged_tables import Part, stage_table
from sextant_components.data.table_files import data_rows, require_columns, unreadable_times
from sextant_components.data.tables import slice_columns
from sextant_components.data.whole_tables import repeated_places
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
    """What was found: rows in the files' order with the label as `label`; `pictures` has one path a row.

    Corrections are applied already; `corrections` says which. `tables` has the digest and the rows of each file that
    the rows were read from. Rows come in pieces (`batches`); `rows` holds them all and is for what needs all at once.
    """

    file: Path
    given: Rows
    pictures: list[Path] | None
    tables: list[tuple[Path, Part]]
    corrections: Corrections | None = None

    @property
    def columns(self) -> list[str]:
        """The names of all columns."""
        return [*self.given.columns, *([ORIGINAL_LABEL, CORRECTION] if self.corrections else [])]

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        """Yield these columns, or all, of every row, some thousand rows at a time."""
        wanted = self.columns if columns is None else list(columns)
        if self.corrections is None:
            yield from self.given.batches(wanted)
            return
        own = [name for name in wanted if name not in {ORIGINAL_LABEL, CORRECTION}]
        read, start = list(dict.fromkeys([*own, "label"])), 0
        for batch in self.given.batches(read):
            yield self.corrections.correct(batch, start).select(wanted)
            start += batch.height

    def select(self, columns: Sequence[str]) -> pl.DataFrame:
        """Return these columns of all rows."""
        import polars as pl

        return pl.concat(list(self.batches(columns)))

    @cached_property
    def rows(self) -> pl.DataFrame:
        """All rows, in memory."""
        return self.select(self.columns)

    @cached_property
    def height(self) -> int:
        """How many rows there are."""
        return sum(batch.height for batch in self.batches(["label"]))


def read_source(plan: Plan, root: Path, home: Path) -> Source:
    """Find the rows of the table or the folder that the plan names; pictures are only looked for, not opened.

    What a table holds is kept in `home`, and a file of it that has not changed is not read again. Raises DataError
    for an absent, empty or contradictory source, and for rows without label, entity or time.
    """
    if not root.is_dir():
        raise DataError(root, "no such folder", "Correct data.source in the plan, or generate the data first")
    found = _from_table(plan, root, root / plan.data.table, home) if plan.data.table else _from_folder(plan, root, home)
    if plan.data.corrections is not None:
        found = _corrected(found, plan.data, root / plan.data.corrections)
    _check_labels(found, plan)
    return found


def _corrected(source: Source, data: Data, path: Path) -> Source:
    _check_text(source, "label", data.label, "the label")
    found = find_corrections(path, source.given, data)
    dropped = {place for place, item in found.by_place.items() if item.action == "drop"}
    pictures = source.pictures
    if pictures is not None and dropped:
        pictures = [picture for place, picture in enumerate(pictures) if place not in dropped]
    return replace(source, pictures=pictures, corrections=found)


def _from_folder(plan: Plan, root: Path, home: Path) -> Source:
    import polars as pl

    data = plan.data
    assert data.images is not None
    folder = root / data.images
    if not folder.is_dir():
        raise DataError(folder, "no such folder", "Correct data.images in the plan, or generate the data first")
    listing = next((folder / name for name in METADATA_FILES if (folder / name).is_file()), None)
    if listing is not None:
        return _from_table(plan, root, listing, home)
    classes = class_pictures(folder)
    pictures = [path for found in classes.values() for path in found]
    labels = [label for label, found in classes.items() for _ in found]
    names = [path.relative_to(folder).as_posix() for path in pictures]
    return Source(folder, HeldRows(pl.DataFrame({"label": labels, data.image: names})), pictures, [])


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


def _from_table(plan: Plan, root: Path, file: Path, home: Path) -> Source:
    data = plan.data
    table = stage_table(file, home)
    listed = file.name in METADATA_FILES and FILE_NAME in table.schema and data.image not in table.schema
    renamed = {data.label: "label"} | ({FILE_NAME: data.image} if listed else {})
    present = [renamed.get(name, name) if name != data.label else name for name in table.schema]
    require_columns(file, present, needed_columns(plan))
    reserved = RESERVED | ({ORIGINAL_LABEL, CORRECTION} if data.corrections else set())
    taken = reserved & set(present) or ({"label"} & set(present) if data.label != "label" else set())
    if taken:
        raise DataError(file, f"a column is named {min(taken)}, which Sextant needs for its own", "Rename the column")
    source = Source(file, typed_rows(plan, table, renamed), None, table.parts)
    if data.timestamp:
        _check_times(source, data.timestamp)
    if data.entity:
        _check_text(source, data.entity, data.entity, "the entity's key")
        _check_ids(source, data)
    pictures = _named_pictures(source, data.image, root / data.images) if data.images else None
    return replace(source, pictures=pictures)


def needed_columns(plan: Plan) -> dict[str, str]:
    """Return each column that the plan needs, with the key that names it."""
    data = plan.data
    needed = {data.label: "data.label"}
    optional = {"data.entity": data.entity, "data.timestamp": data.timestamp, "data.group": data.group}
    if data.images:
        optional["data.image"] = data.image
    needed |= {name: key for key, name in optional.items() if name}
    needed |= dict.fromkeys(plan.requested, "features.on_demand.request")
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


def _places(source: Source, name: str, wrong: Callable[[pl.Series], pl.Series]) -> list[int]:
    """Return the places of the rows for whose value of a column `wrong` holds."""
    found, start = [], 0
    for batch in source.batches([name]):
        found += [start + at for at in wrong(batch[name]).arg_true().to_list()]
        start += batch.height
    return found


def _check_labels(source: Source, plan: Plan) -> None:
    if plan.model.answers == "number":
        _check_numbers(source, plan.data.label)
        return
    _check_text(source, "label", plan.data.label, "the label")
    classes: set[str] = set()
    for batch in source.batches(["label"]):
        classes.update(batch["label"].unique().to_list())
    if len(classes) < 2:
        problem = f"every row has the label {next(iter(classes), 'that was dropped')}"
        raise DataError(source.file, problem, "Give rows of at least two classes")


def _check_numbers(source: Source, name: str) -> None:
    """Refuse a label that is no number, or the same number, in the rows of a regression."""
    import polars as pl

    def numbers(column: pl.Series) -> pl.Series:
        return column if column.dtype == pl.Float64 else column.cast(pl.String).cast(pl.Float64, strict=False)

    bad = _places(source, "label", lambda column: (~numbers(column).is_finite()).fill_null(value=True))
    if bad:
        remedy = "Write a number in each row, or remove them; a label of words needs a classification"
        raise DataError(source.file, f"column {name} has no number in {data_rows(bad)}", remedy)
    ends = [(low, high) for batch in source.batches(["label"]) for low, high in [_ends(numbers(batch["label"]))]]
    lowest = min(low for low, _ in ends)
    if lowest == max(high for _, high in ends):
        raise DataError(source.file, f"every row has the label {lowest:g}", "Give rows of different labels")


def _ends(numbers: pl.Series) -> tuple[float, float]:
    values = numbers.to_numpy()
    return float(values.min()), float(values.max())


def _check_text(source: Source, stored: str, name: str, what: str) -> None:
    missing = _places(source, stored, lambda column: column.is_null())
    if missing:
        problem = f"column {name} is empty in {data_rows(missing)}"
        raise DataError(source.file, problem, f"Give {what} in each row, or remove them")
    padded = _places(source, stored, lambda column: column.str.strip_chars() != column)
    if padded:
        problem = f"column {name} has a blank at an end in {data_rows(padded)}"
        raise DataError(source.file, problem, f"Remove it: with and without it, {what} would be two")


def _check_times(source: Source, name: str) -> None:
    unreadable = _places(source, name, lambda column: column.is_null())
    if unreadable:
        raise unreadable_times(source.file, name, unreadable)


def _check_ids(source: Source, data: Data) -> None:
    """Refuse two rows of one entity, or of one entity at one time where the rows have times."""
    assert data.entity is not None
    key = [data.entity] + ([data.timestamp] if data.timestamp else [])
    repeated = repeated_places(source.batches(key), key)
    if repeated.rows:
        at = f" at one {data.timestamp}" if data.timestamp else ""
        raise DataError(
            source.file,
            f"column {data.entity} repeats an id{at} in {data_rows(repeated.first)}; "
            f"{repeated.rows} rows repeat one in all",
            "Keep one row for each"
            + (", or name the column of their times in data.timestamp" if not data.timestamp else ""),
        )


def _named_pictures(source: Source, name: str, folder: Path) -> list[Path]:
    file = source.file
    if not folder.is_dir():
        raise DataError(folder, "no such folder", "Correct data.images in the plan, or generate the data first")
    _check_text(source, name, name, "the picture's file")
    root = folder.resolve()
    present = {path for path in root.rglob("*") if path.is_file()}
    pictures = [root / each for batch in source.batches([name]) for each in batch[name].to_list()]
    absent = [index for index, path in enumerate(pictures) if path not in present]
    if absent:
        path = pictures[absent[0]]
        if not path.resolve().is_relative_to(root):
            problem = f"column {name} leaves the folder of pictures in {data_rows(absent[:1])}"
            raise DataError(file, problem, f"Name files under {folder}")
        raise DataError(
            path,
            f"no such picture, named by {file.name} in {data_rows(absent[:1])}; {len(absent)} are absent in all",
            "Add the file, or remove the row",
        )
    return pictures
