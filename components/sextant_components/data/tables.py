"""What the data steps hand to the others: the snapshot, the splits, and how each is read.

Snapshot: `rows.parquet` has `row_id` (0 to rows - 1), `label`, `image_sha256` where there are pictures, and
every other column of the source under its own name; `images.parquet` has the pictures' original bytes.
Splits: `row_id`, `label` (text, or a number in a regression), `label_index` where it is a class, `group:row_id`, the
first `row_id` of the group that was kept in one split (int64), the plan's entity, group and timestamp columns under
their own names, each slice column as text under `slice:<name>`, and each model column as the float64 that the server
would compute from the same request.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from sextant_plan.bounds import Groups, in_groups
from sextant_plan.bundle import Column
from sextant_plan.schema import Closed, ImageInput, Licence, Plan

if TYPE_CHECKING:
    import polars as pl

ROWS_FILE = "rows.parquet"
IMAGES_FILE = "images.parquet"
SNAPSHOT_FILE = "snapshot.json"
COLUMNS_FILE = "columns.json"
CLASSES_FILE = "classes.json"
SPLITS_FILE = "splits.json"
FEATURES_FILE = "features.parquet"
SLICE_PREFIX = "slice:"
GROUP_COLUMN = "group:row_id"  # no plan's column is called so; `group_id` may well be the user's own

SplitName = Literal["train", "valid", "sealed"]
SPLITS: tuple[SplitName, ...] = ("train", "valid", "sealed")

_COLUMNS = TypeAdapter(list[Column])
_CLASSES = TypeAdapter(list[str])


class Lineage(Closed):
    """One input of a snapshot: a file relative to the data's root, or a folder of pictures as one digest."""

    file: str
    digest: str
    rows: int


class Snapshot(Closed):
    """The contents of snapshot.json; `created` is Unix time and does not enter `data_hash`."""

    schema_version: Literal[1] = 1
    data_hash: str
    rows: int
    classes: dict[str, int]
    pictures: bool
    licence: Licence
    source: str
    lineage: list[Lineage]
    created: float


class SplitsInfo(Closed):
    """The contents of splits.json; `feature_repo` is a path, absent when the plan has no features."""

    schema_version: Literal[1] = 1
    counts: dict[str, int]
    seed: int
    sealed_digest: str
    data_hash: str
    feature_repo: str | None = None
    feature_service: str | None = None


def read_snapshot(snapshot: Path) -> Snapshot:
    """Return what the snapshot says of itself."""
    return Snapshot.model_validate_json((snapshot / SNAPSHOT_FILE).read_bytes())


def read_rows(snapshot: Path, columns: Collection[str] | None = None) -> pl.DataFrame:
    """Return every row of the snapshot by `row_id`, before verification dropped any; only these columns, if given.

    Of `columns` those that the snapshot lacks are passed over.
    """
    import polars as pl

    chosen = None if columns is None else [name for name in read_schema(snapshot) if name in columns]
    return pl.read_parquet(snapshot / ROWS_FILE, columns=chosen)


def read_schema(snapshot: Path) -> pl.Schema:
    """Return the names and types of the snapshot's columns without reading a row."""
    import polars as pl

    return pl.Schema(pl.read_parquet_schema(snapshot / ROWS_FILE))


def read_split(splits: Path, name: SplitName) -> pl.DataFrame:
    """Return one split by `row_id`."""
    import polars as pl

    return pl.read_parquet(splits / f"{name}.parquet")


def groups_of(split: pl.DataFrame) -> Groups:
    """Return the group of each row of a split, shape (rows,); None where every row is its own, as in splits of old."""
    if GROUP_COLUMN not in split.columns:
        return None
    groups: NDArray[np.int64] = split[GROUP_COLUMN].to_numpy().astype(np.int64)
    return groups if in_groups(groups) else None


def read_columns(splits: Path) -> list[Column]:
    """Return the model's columns in the order of the `features` tensor."""
    return _COLUMNS.validate_json((splits / COLUMNS_FILE).read_bytes())


def read_classes(splits: Path) -> list[str]:
    """Return the classes in the order of the model's outputs."""
    return _CLASSES.validate_json((splits / CLASSES_FILE).read_bytes())


def read_splits_info(splits: Path) -> SplitsInfo:
    """Return what the splits say of themselves."""
    return SplitsInfo.model_validate_json((splits / SPLITS_FILE).read_bytes())


def read_features(splits: Path) -> pl.DataFrame | None:
    """Return the joined features of all splits by `row_id` before encoding, null where missing; None without any."""
    import polars as pl

    path = splits / FEATURES_FILE
    return pl.read_parquet(path) if path.exists() else None


def feature_matrix(split: pl.DataFrame, columns: Sequence[Column]) -> NDArray[np.float32]:
    """Return the `features` tensor of a split, shape (rows, columns)."""
    matrix = np.empty((split.height, len(columns)), dtype=np.float32)
    for index, column in enumerate(columns):
        matrix[:, index] = split[column.name].to_numpy()
    return matrix


def slice_columns(plan: Plan) -> list[str]:
    """Return the columns that the plan slices by, in `evaluation.slices` or in a criterion, each once."""
    named = [*plan.evaluation.slices, *(criterion.slice for criterion in plan.criteria if criterion.slice)]
    return list(dict.fromkeys(name.partition("=")[0] for name in named))


def stored_name(plan: Plan, column: str) -> str:
    """Return the snapshot's name for a column of the source: the plan's label is stored as `label`."""
    return "label" if column == plan.data.label else column


def slice_values(split: pl.DataFrame, column: str) -> list[str]:
    """Return a slice column's value for each row of a split, a missing one as an empty text."""
    return split[SLICE_PREFIX + column].fill_null("").to_list()


def slices_of(plan: Plan, split: pl.DataFrame) -> dict[str, list[str]]:
    """Return the value of every column that the plan slices by for each row of a split."""
    return {column: slice_values(split, column) for column in slice_columns(plan)}


def image_bytes(snapshot: Path, row_ids: Sequence[int]) -> list[bytes]:
    """Return the pictures' original bytes in the order of `row_ids`; raises KeyError for a row without one."""
    import polars as pl

    wanted = pl.Series("row_id", row_ids, dtype=pl.Int64)
    stored = pl.scan_parquet(snapshot / IMAGES_FILE).filter(pl.col("row_id").is_in(wanted.implode())).collect()
    data = dict(zip(stored["row_id"].to_list(), stored["data"].to_list(), strict=True))
    return [data[row_id] for row_id in wanted.to_list()]


def load_images(snapshot: Path, row_ids: Sequence[int], spec: ImageInput) -> NDArray[np.uint8]:
    """Return the decoded pictures, shape (len(row_ids), height, width, channels); raises BadPicture."""
    from sextant_serving.preprocessing import decode_image

    pictures = np.empty((len(row_ids), spec.height, spec.width, spec.channels), dtype=np.uint8)
    for index, data in enumerate(image_bytes(snapshot, row_ids)):
        pictures[index] = decode_image(data, spec)
    return pictures
