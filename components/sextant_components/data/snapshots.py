"""Writing a snapshot, and proving later that it is still what was written."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sextant_components.data.kept_pictures import BATCH_ROWS, copy_pictures, store_folder
from sextant_components.data.sources import Source
from sextant_components.data.tables import IMAGES_FILE, ROWS_FILE, SNAPSHOT_FILE, Lineage, Snapshot, read_snapshot
from sextant_components.data.whole_tables import PLACE, row_groups, sort_rows
from sextant_plan.canonical import digest_of
from sextant_plan.errors import InfrastructureError
from sextant_plan.schema import Data

if TYPE_CHECKING:
    import polars as pl


def write_snapshot(source: Source, data: Data, root: Path, snapshot: Path, home: Path) -> Snapshot:
    """Copy the source into `snapshot`, rows in an order that depends on their content alone.

    Rows go through in pieces, and are sorted on disk. Pictures that have not changed since the home's last snapshot
    are not read again. Raises DataError if a picture cannot be read from disk.
    """
    snapshot.mkdir(parents=True, exist_ok=True)
    lineage = [
        Lineage(file=file.relative_to(root).as_posix(), digest=part.digest, rows=part.rows)
        for file, part in source.tables
    ]
    pictures = _write_rows(source, data, root, snapshot, home)
    rows = rows_in(snapshot / ROWS_FILE)
    if pictures is not None:
        lineage.append(Lineage(file=str(data.images), digest=digest_of(pictures), rows=len(pictures)))
    if source.corrections is not None:
        applied = source.corrections.applied
        lineage.append(Lineage(file=str(data.corrections), digest=applied.digest, rows=applied.lines))
    described = Snapshot(
        data_hash=content_hash(snapshot / ROWS_FILE),
        rows=rows,
        classes=_classes(snapshot / ROWS_FILE),
        pictures=source.pictures is not None,
        licence=data.licence,
        source=data.source,
        lineage=lineage,
        created=time.time(),
    )
    (snapshot / SNAPSHOT_FILE).write_text(described.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return described


def _write_rows(source: Source, data: Data, root: Path, snapshot: Path, home: Path) -> dict[str, str] | None:
    """Write the sorted rows, and the pictures if there are any; return each picture's digest by its name."""
    import polars as pl

    keys = [name for name in (data.entity, data.timestamp, data.image if source.pictures else None) if name]
    if data.entity is None:  # an entity has one row, or one at a time
        keys += sorted(set(source.columns) - set(keys))
    with tempfile.TemporaryDirectory(dir=snapshot, prefix=".rows-") as work:
        given, ordered = Path(work, "given.parquet"), Path(work, "sorted.parquet")
        _write_given(source, given)
        if source.pictures is None:
            sort_rows(given, snapshot / ROWS_FILE, keys, source.columns)
            return None
        sort_rows(given, ordered, keys, [PLACE, *source.columns])
        places = pl.read_parquet(ordered, columns=[PLACE])[PLACE].to_list()
        paths = [source.pictures[place] for place in places]
        digests = copy_pictures(paths, snapshot / IMAGES_FILE, store_folder(home, root)).digests
        return _with_digests(ordered, snapshot / ROWS_FILE, digests, data.image)


def _write_given(source: Source, path: Path) -> None:
    """Write the rows as they come, each with its place; a column that is empty in one piece has the others' type."""
    import pyarrow.parquet as pq

    writer, start = None, 0
    for batch in source.batches():
        table = batch.with_row_index(PLACE, start).to_arrow()
        writer = writer or pq.ParquetWriter(path, table.schema, compression="lz4")
        writer.write_table(table)
        start += batch.height
    if writer is not None:
        writer.close()


def _with_digests(ordered: Path, target: Path, digests: list[str], image: str) -> dict[str, str]:
    """Copy the sorted rows in pieces, each with its picture's digest in place of its place in the source."""
    import polars as pl
    import pyarrow.parquet as pq

    writer, start, named = None, 0, dict[str, str]()
    for batch in row_groups(ordered):
        here = digests[start : start + batch.height]
        named.update(zip(batch[image].to_list(), here, strict=True))
        table = batch.drop(PLACE).with_columns(pl.Series("image_sha256", here)).to_arrow()
        writer = writer or pq.ParquetWriter(target, table.schema, compression="zstd")
        writer.write_table(table)
        start += batch.height
    if writer is not None:
        writer.close()
    return named


def rows_in(path: Path) -> int:
    """Return how many rows a Parquet file has."""
    import pyarrow.parquet as pq

    rows: int = pq.read_metadata(path).num_rows
    return rows


def _classes(path: Path) -> dict[str, int]:
    """Return how many rows each class has; numbers are no classes."""
    import polars as pl

    rows = pl.scan_parquet(path, glob=False)
    if rows.collect_schema()["label"].is_numeric():
        return {}
    counts = rows.group_by("label").len().collect(engine="streaming").sort("label")
    return dict(counts.iter_rows())


def content_hash(path: Path) -> str:
    """Return `sha256:<64 hex>` of the values of a Parquet file: names, types, then each column's values by name.

    The storage format does not enter, so another version of the writer gives the same hash. A column is read in pieces.
    """
    import polars as pl

    state, rows = hashlib.sha256(), rows_in(path)
    for name, dtype in sorted(pl.read_parquet_schema(path).items()):
        state.update(f"{name}\0{dtype}\0{rows}\0".encode())
        _hash_nulls(state, path, name)
        passes = (_lengths, _words) if dtype == pl.String else (_numbers,)
        for values in passes:
            for piece in _pieces(path, name):
                state.update(values(piece))
    return f"sha256:{state.hexdigest()}"


def _pieces(path: Path, name: str) -> Iterator[pl.Series]:
    return (batch.to_series() for batch in row_groups(path, [name]))


def _hash_nulls(state: Any, path: Path, name: str) -> None:
    """Hash which values are missing, eight rows a byte; a piece need not end with a whole byte."""
    left: NDArray[np.bool_] = np.empty(0, dtype=np.bool_)
    for piece in _pieces(path, name):
        left = np.concatenate([left, piece.is_null().to_numpy()])
        whole = len(left) // 8 * 8
        state.update(np.packbits(left[:whole]).tobytes())
        left = left[whole:]
    state.update(np.packbits(left).tobytes())


def _lengths(column: pl.Series) -> bytes:
    return column.fill_null("").str.len_bytes().to_numpy().astype("<i8").tobytes()


def _words(column: pl.Series) -> bytes:
    return "".join(column.fill_null("").to_list()).encode()


def _numbers(column: pl.Series) -> bytes:
    import polars as pl

    if column.dtype == pl.Float64:
        return column.fill_null(0.0).to_numpy().astype("<f8").tobytes()
    return column.to_physical().cast(pl.Int64).fill_null(0).to_numpy().astype("<i8").tobytes()


def check_snapshot(snapshot: Path) -> Snapshot:
    """Return the snapshot's description after comparing rows and pictures with it.

    Raises InfrastructureError if anything was changed since it was written.
    """
    described = read_snapshot(snapshot)
    if content_hash(snapshot / ROWS_FILE) != described.data_hash:
        raise _changed(snapshot / ROWS_FILE)
    if described.pictures:
        known = (digest for piece in _pieces(snapshot / ROWS_FILE, "image_sha256") for digest in piece.to_list())
        stored = (hashlib.sha256(data).hexdigest() for _, pictures in picture_batches(snapshot) for data in pictures)
        if any(one != other for one, other in zip_longest(known, stored)):
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
