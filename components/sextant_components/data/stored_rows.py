"""The rows of a snapshot, asked for in pieces, one column at a time, or a few of them: never all at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sextant_components.data.snapshots import rows_in
from sextant_components.data.table_files import as_numbers
from sextant_components.data.tables import ROWS_FILE, read_schema
from sextant_components.data.whole_tables import row_groups

if TYPE_CHECKING:
    import polars as pl

ROW_ID = "row_id"
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class StoredRows:
    """A snapshot's rows before verification dropped any; a row's place is its `row_id`."""

    snapshot: Path

    @cached_property
    def height(self) -> int:
        """How many rows there are."""
        return rows_in(self.snapshot / ROWS_FILE)

    @cached_property
    def schema(self) -> pl.Schema:
        """The columns' names and types."""
        return read_schema(self.snapshot)

    def batches(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield `row_id` and these columns of all rows, some ten thousand rows at a time.

        Columns that the snapshot lacks are passed over.
        """
        chosen = [ROW_ID, *(name for name in dict.fromkeys(columns) if name in self.schema and name != ROW_ID)]
        for batch in row_groups(self.snapshot / ROWS_FILE, chosen):
            yield batch.select(chosen)

    def column(self, name: str, mask: Mask | None = None) -> pl.Series:
        """Return one column, of all rows or of those of a mask of shape (rows,)."""
        import polars as pl

        pieces = []
        for batch in self.batches([name]):
            piece = batch[name]
            pieces.append(piece if mask is None else piece.filter(_here(mask, batch)))
        return pl.concat(pieces)

    def taken(self, columns: Sequence[str], mask: Mask) -> pl.DataFrame:
        """Return `row_id` and these columns of the rows of a mask of shape (rows,), rising."""
        import polars as pl

        return pl.concat([batch.filter(_here(mask, batch)) for batch in self.batches(columns)])

    def mask_of(self, row_ids: Sequence[int] | NDArray[np.int64]) -> Mask:
        """Return a mask of shape (rows,) of these rows."""
        mask = np.zeros(self.height, dtype=np.bool_)
        mask[np.asarray(row_ids, dtype=np.int64)] = True
        return mask


class StoredNumbers(Mapping[str, NDArray[np.float64]]):
    """Columns of numbers by name, missing as NaN, each read when it is asked for; only the rows of a mask."""

    def __init__(self, rows: StoredRows, names: Sequence[str], mask: Mask) -> None:
        self._rows, self._mask = rows, mask
        self._names = [name for name in names if self._is_numeric(name)]

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        return as_numbers(self._rows.column(name, self._mask)).to_numpy().astype(np.float64)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def _is_numeric(self, name: str) -> bool:
        """Tell whether a column is of numbers once the rows outside the mask are left out."""
        import polars as pl

        dtype = self._rows.schema.get(name)
        if dtype is None:
            return False
        return (
            as_numbers(self._rows.column(name, self._mask)).dtype.is_numeric()
            if dtype == pl.String
            else bool(dtype.is_numeric() or dtype == pl.Boolean)
        )


def _here(mask: Mask, batch: pl.DataFrame) -> pl.Series:
    """Return the piece of a mask that belongs to a batch."""
    import polars as pl

    if batch.is_empty():
        return pl.Series([], dtype=pl.Boolean)
    start = batch[ROW_ID][0]
    return pl.Series(mask[start : start + batch.height])
