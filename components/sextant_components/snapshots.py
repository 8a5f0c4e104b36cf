"""Writing a snapshot, and proving later that it is still what was written."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sextant_components.kept_pictures import BATCH_ROWS, copy_pictures, store_folder
from sextant_components.sources import Source
from sextant_components.tables import IMAGES_FILE, ROWS_FILE, SNAPSHOT_FILE, Lineage, Snapshot, read_rows, read_snapshot
from sextant_plan.canonical import digest_of
from sextant_plan.errors import InfrastructureError
from sextant_plan.schema import Data

if TYPE_CHECKING:
    import polars as pl


def write_snapshot(source: Source, data: Data, root: Path, snapshot: Path, home: Path) -> Snapshot:
    """Copy the source into `snapshot`, rows in an order that depends on their content alone.

    Pictures that have not changed since the home's last snapshot are not read again. Raises DataError if a picture
    cannot be read from disk.
    """
    import polars as pl

    snapshot.mkdir(parents=True, exist_ok=True)
    place = pl.Series("place", np.arange(source.rows.height))
    keys = [data.entity, data.timestamp, data.image if source.pictures else None]
    first = [name for name in keys if name]
    order = source.rows.with_columns(place).sort(
        [*first, *sorted(set(source.rows.columns) - set(first))], nulls_last=True, maintain_order=True
    )
    rows = order.drop("place").with_row_index("row_id").with_columns(pl.col("row_id").cast(pl.Int64))
    lineage = []
    if source.table_digest is not None:
        lineage.append(
            Lineage(file=source.file.relative_to(root).as_posix(), digest=source.table_digest, rows=rows.height)
        )
    if source.pictures is not None:
        ordered = [source.pictures[index] for index in order["place"].to_list()]
        digests = copy_pictures(ordered, snapshot / IMAGES_FILE, store_folder(home, root)).digests
        rows = rows.with_columns(pl.Series("image_sha256", digests))
        names = dict(zip(rows[data.image].to_list(), digests, strict=True))
        lineage.append(Lineage(file=str(data.images), digest=digest_of(names), rows=len(names)))
    if source.corrections is not None:
        applied = source.corrections
        lineage.append(Lineage(file=str(data.corrections), digest=applied.digest, rows=applied.lines))
    rows.write_parquet(snapshot / ROWS_FILE)
    described = Snapshot(
        data_hash=content_hash(rows),
        rows=rows.height,
        classes=_classes(rows["label"]),
        pictures=source.pictures is not None,
        licence=data.licence,
        source=data.source,
        lineage=lineage,
        created=time.time(),
    )
    (snapshot / SNAPSHOT_FILE).write_text(described.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return described


def _classes(labels: pl.Series) -> dict[str, int]:
    """Return how many rows each class has; numbers are no classes."""
    if labels.dtype.is_numeric():
        return {}
    counts = labels.value_counts().sort(labels.name)
    return dict(zip(counts[labels.name].to_list(), counts["count"].to_list(), strict=True))


def content_hash(rows: pl.DataFrame) -> str:
    """Return `sha256:<64 hex>` of the rows' values: names, types, then each column's values by name.

    The storage format does not enter, so another version of the writer gives the same hash.
    """
    state = hashlib.sha256()
    for name in sorted(rows.columns):
        state.update(f"{name}\0{rows[name].dtype}\0{rows.height}\0".encode())
        for part in _column_bytes(rows[name]):
            state.update(part)
    return f"sha256:{state.hexdigest()}"


def _column_bytes(column: pl.Series) -> Iterator[bytes]:
    import polars as pl

    yield np.packbits(column.is_null().to_numpy()).tobytes()
    if column.dtype == pl.String:
        words = [word.encode() for word in column.fill_null("").to_list()]
        yield np.asarray([len(word) for word in words], dtype="<i8").tobytes()
        yield b"".join(words)
    elif column.dtype == pl.Float64:
        yield column.fill_null(0.0).to_numpy().astype("<f8").tobytes()
    else:
        yield column.to_physical().cast(pl.Int64).fill_null(0).to_numpy().astype("<i8").tobytes()


def check_snapshot(snapshot: Path) -> Snapshot:
    """Return the snapshot's description after comparing rows and pictures with it.

    Raises InfrastructureError if anything was changed since it was written.
    """
    described, rows = read_snapshot(snapshot), read_rows(snapshot)
    if content_hash(rows) != described.data_hash:
        raise _changed(snapshot / ROWS_FILE)
    stored = picture_batches(snapshot) if described.pictures else iter(())
    digests = [hashlib.sha256(data).hexdigest() for _, pictures in stored for data in pictures]
    if described.pictures and digests != rows["image_sha256"].to_list():
        raise _changed(snapshot / IMAGES_FILE)
    return described


def picture_batches(snapshot: Path) -> Iterator[tuple[list[int], list[bytes]]]:
    """Yield row ids and original bytes of all pictures, by row id, at most BATCH_ROWS at a time."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(snapshot / IMAGES_FILE) as file:
        for batch in file.iter_batches(BATCH_ROWS):
            yield batch.column(0).to_pylist(), batch.column(1).to_pylist()


def _changed(path: Path) -> InfrastructureError:
    return InfrastructureError(f"{path}: not what ingest wrote. Run ingest again; nothing was derived from it.")
