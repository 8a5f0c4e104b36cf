"""What a first look at a user's data tells: the table, the pictures, the label, and what each column holds."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from sextant_plan.bounds import alike_rows
from sextant_plan.errors import DataError

if TYPE_CHECKING:
    import polars as pl

LABEL_NAMES = ("label", "target", "class", "y", "category")
PICTURES = frozenset({".png", ".jpg", ".jpeg"})
TABLES = frozenset({".csv", ".parquet", ".pq"})
MAX_CLASSES = 50
MAX_CATEGORIES = 50
MAX_NUMBERED_CLASSES = 20  # more different numbers are a quantity, not the numbers of classes
SAMPLED_PICTURES = 50
MAX_SIDE = 64  # pixels; on two cores a small network then trains in minutes
_TIME_NAME = re.compile(r"(^|_)(time|timestamp|date|datetime|at)$")


@dataclass(frozen=True)
class ColumnGuess:
    """A column as its values show it; `low` and `high` are the smallest and largest number seen.

    `strays` counts the values that are no numbers in a column that mostly has numbers.
    """

    name: str
    type: str
    required: bool
    unique: bool
    low: float | None = None
    high: float | None = None
    values: list[str] = field(default_factory=list)
    missing: float = 0.0
    strays: int = 0


@dataclass(frozen=True)
class NumberGuess:
    """A label that is a number, in its own unit: the mean error of answering its mean, and its standard deviation."""

    mean_error: float
    deviation: float


@dataclass(frozen=True)
class Inspection:
    """A first look at the data; paths are relative to `source`, sizes in pixels.

    `classes` has the rows of each value of the label; `number` is there where the values are numbers, not classes.
    `worth` is how many independent rows one row is worth if the rows of a group are all alike, at most 1.
    """

    source: Path
    table: str | None
    images: str | None
    image_column: str | None
    label: str
    entity: str | None
    group: str | None
    timestamp: str | None
    columns: list[ColumnGuess]
    classes: dict[str, int]
    image_size: tuple[int, int, int] | None
    number: NumberGuess | None = None
    worth: float = 1.0

    @property
    def rows(self) -> int:
        """The number of labelled rows."""
        return sum(self.classes.values())


def inspect(path: Path, label: str | None = None) -> Inspection:
    """Look at a folder of pictures by class, a folder with one table, or a table.

    Raises DataError when it is none of these, or when no column can be told to be the label.
    """
    path = path.resolve()
    if path.is_file():
        return _inspect_table(path, label)
    if not path.is_dir():
        raise DataError(path, "no such file or folder", "Name a folder of pictures, or a .csv or .parquet table")
    tables = sorted(file for file in path.iterdir() if file.suffix.lower() in TABLES)
    if len(tables) > 1:
        names = ", ".join(file.name for file in tables)
        raise DataError(path, f"several tables: {names}", "Name the one that has the labels, such as FOLDER/FILE.csv")
    return _inspect_table(tables[0], label) if tables else _inspect_folder(path)


def _inspect_folder(folder: Path) -> Inspection:
    from sextant_components.data.sources import class_pictures

    if sum(entry.is_dir() and not entry.name.startswith(".") for entry in folder.iterdir()) < 2:
        raise DataError(
            folder, "neither a table nor two subfolders of pictures", "Give one subfolder a class, or add a table"
        )
    classes = class_pictures(folder)
    return Inspection(
        source=folder.parent,
        table=None,
        images=folder.name,
        image_column=None,
        label="label",
        entity=None,
        group=None,
        timestamp=None,
        columns=[],
        classes={label: len(found) for label, found in classes.items()},
        image_size=_image_size([path for found in classes.values() for path in found]),
    )


def _inspect_table(file: Path, label: str | None) -> Inspection:
    from sextant_components.data.table_files import read_table

    table = read_table(file)
    image_column, images = _find_pictures(file.parent, table)
    guesses = [_guess(table[name]) for name in table.columns if name != image_column]
    chosen = _choose_label(file, table, guesses, label)
    others = [guess for guess in guesses if guess.name != chosen]
    timestamp = next((guess.name for guess in others if guess.type == "timestamp" and guess.required), None)
    keys = [guess for guess in others if _is_key(guess.name) and guess.required]
    pictures = [file.parent / images / name for name in table[image_column]] if images and image_column else []
    counts = Counter(str(value) for value in table[chosen].drop_nulls())
    if len(counts) < 2:
        raise DataError(file, f"the label {chosen} has one value", "Name another column with --label")
    group = next((guess.name for guess in keys if not guess.unique), None)
    return Inspection(
        source=file.parent,
        table=file.name,
        images=images,
        image_column=image_column,
        label=chosen,
        entity=next((guess.name for guess in keys if guess.unique), None),
        group=group,
        timestamp=timestamp,
        columns=others,
        classes=dict(sorted(counts.items())),
        image_size=_image_size(pictures) if pictures else None,
        number=None if pictures else _number_label(table[chosen], guesses, len(counts)),
        worth=1.0 if group is None else alike_rows(table[group].rank("dense").to_numpy()) / table.height,
    )


def _number_label(column: pl.Series, guesses: list[ColumnGuess], values: int) -> NumberGuess | None:
    """Return how a label spreads that has numbers too many to be classes; None for classes."""
    import polars as pl

    guess = next(each for each in guesses if each.name == column.name)
    if guess.type != "number" or guess.strays or values <= MAX_NUMBERED_CLASSES:
        return None
    labels = column.drop_nulls().cast(pl.Float64).to_numpy()
    return NumberGuess(float(abs(labels - labels.mean()).mean()), float(labels.std()))


def _is_key(name: str) -> bool:
    return name.lower() == "id" or name.lower().endswith("_id")


def _choose_label(file: Path, table: pl.DataFrame, guesses: list[ColumnGuess], label: str | None) -> str:
    """Return the named column, one with a usual name, or the last one if it has few values."""
    if label is not None:
        if label not in table.columns:
            raise DataError(file, f"no column {label}", f"--label is one of {', '.join(table.columns)}")
        return label
    by_name = {name.lower(): name for name in table.columns}
    usual = next((by_name[name] for name in LABEL_NAMES if name in by_name), None)
    if usual is not None:
        return usual
    last = guesses[-1] if guesses else None
    if (
        last is not None
        and not _is_key(last.name)
        and 2 <= table[last.name].n_unique() <= min(MAX_CLASSES, table.height / 5)
    ):
        return last.name
    raise DataError(file, "no column is called label, and the last one does not look like one", "Name it with --label")


def _find_pictures(root: Path, table: pl.DataFrame) -> tuple[str | None, str | None]:
    """Return the column that names pictures and the folder below `root` that they lie in."""
    import polars as pl

    for name, dtype in table.schema.items():
        if dtype != pl.String or table[name].null_count():
            continue
        values = table[name].head(SAMPLED_PICTURES).to_list()
        if not all(Path(value).suffix.lower() in PICTURES for value in values):
            continue
        folders = [root, *sorted(entry for entry in root.iterdir() if entry.is_dir())]
        folder = max(folders, key=lambda place: sum((place / value).is_file() for value in values))
        absent = [value for value in values if not (folder / value).is_file()]
        if not absent:
            return name, folder.relative_to(root).as_posix()
        if len(absent) < len(values):
            problem = f"no such picture, though column {name} names it"
            raise DataError(folder / absent[0], problem, "Add the file, or remove the row")
    return None, None


def _guess(column: pl.Series) -> ColumnGuess:
    import polars as pl

    from sextant_components.data.verify import FIXABLE_SHARE

    present = column.drop_nulls()
    missing = column.null_count() / len(column)
    required, unique = missing == 0, present.n_unique() == len(column)
    guess = ColumnGuess(column.name, "text", required, unique, missing=missing)
    if column.dtype == pl.Boolean or set(present.unique().to_list()) in ({"true", "false"}, {"True", "False"}):
        return replace(guess, type="boolean")
    if column.dtype.is_temporal() or _holds_times(present):
        return replace(guess, type="timestamp")
    parsed = present.cast(pl.Float64, strict=False)
    numbers = parsed.filter(parsed.is_finite())
    strays = len(present) - len(numbers)
    if len(numbers) and not strays:
        return _number(guess, numbers)
    words = sorted(str(value) for value in present.unique())
    if not _is_key(column.name) and 1 < len(words) <= min(MAX_CATEGORIES, max(2, len(column) // 5)):
        return replace(guess, type="category", values=words)
    if strays < len(numbers):
        guess = replace(guess, strays=strays)
        return _number(guess, numbers) if strays <= FIXABLE_SHARE * len(column) else guess
    return guess


def _number(guess: ColumnGuess, numbers: pl.Series) -> ColumnGuess:
    low, high = float(numbers.min()), float(numbers.max())  # type: ignore[arg-type]
    return replace(guess, type="number", low=low, high=high)


def _holds_times(present: pl.Series) -> bool:
    """Tell whether a text column has a time's name and ISO 8601 values."""
    import polars as pl

    if present.dtype != pl.String or not len(present) or not _TIME_NAME.search(present.name.lower()):
        return False
    return bool(present.str.contains(r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}|$)").all())


def _image_size(pictures: list[Path]) -> tuple[int, int, int]:
    """Return height, width and channels that suit a sample of the pictures: their median, at most MAX_SIDE."""
    from PIL import Image

    stride = max(1, len(pictures) // SAMPLED_PICTURES)
    heights, widths, grey = [], [], True
    for path in pictures[::stride][:SAMPLED_PICTURES]:
        try:
            with Image.open(path) as picture:
                heights.append(picture.height)
                widths.append(picture.width)
                grey = grey and picture.mode in {"1", "L", "LA", "I;16"}
        except OSError as error:
            raise DataError(path, "not a readable JPEG or PNG", "Repair or remove the file") from error
    return _side(heights), _side(widths), 1 if grey else 3


def _side(lengths: list[int]) -> int:
    return min(MAX_SIDE, max(8, round(median(lengths) / 8) * 8))
