"""Windows of rows for the drift simulations: the same ones for every detector.

The tables are three that scikit-learn ships and the parcels: price, measures, what is watched of a picture, and the
supplier, a category. A window is drawn with replacement from the table's own rows, so that without a shift reference
and window have the same distribution exactly. A little noise breaks the ties that this makes. The parcels also have
shifts of their own, whose windows are drawn from other rows: the same belt in a dark hall, and with a supplier that
training never saw.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

REFERENCE_ROWS = 5000
WINDOW_ROWS = 500
MOST_FEATURES = 10  # of scikit-learn's tables
NOISE = 0.02  # of a feature's standard deviation
PARCELS = "parcels"
PARCELS_DRAWN = {"none": 6000, "dark": 2000, "new-supplier": 2000}  # 10,000 pictures, about two minutes
CATEGORIES = {PARCELS: {15: 5}}  # column: how many values training saw; any other is the number after the last
TABLES = ("breast-cancer", "diabetes", "wine", PARCELS)

Table = NDArray[np.float64]


@dataclass(frozen=True)
class Shift:
    """What happens to a window: its first `features` numbers move by `mean` and stretch by `scale`.

    Both are in standard deviations; `missing` is the share of their values that a default replaces.
    `rows` names the drawing of the parcels that the window comes from; any but `none` is no other table's.
    """

    name: str
    features: int = 0
    mean: float = 0.0
    scale: float = 1.0
    missing: float = 0.0
    rows: str = "none"

    def is_of(self, table: str) -> bool:
        """Whether the table can be shifted so."""
        return table == PARCELS or self.rows == "none"


SHIFTS = (
    Shift("none"),
    Shift("one feature +0.25 sd", features=1, mean=0.25),
    Shift("one feature +0.5 sd", features=1, mean=0.5),
    Shift("one feature +1 sd", features=1, mean=1.0),
    Shift("one feature x2 spread", features=1, scale=2.0),
    Shift("all features +0.5 sd", features=100, mean=0.5),
    Shift("one feature, a quarter of values defaulted", features=1, missing=0.25),
    Shift("a dark hall", rows="dark"),
    Shift("a new supplier of 40 % of the parcels", rows="new-supplier"),
)


@cache
def load_table(name: str, work: Path, rows: str = "none") -> Table:
    """Return (rows, features); each number has mean 0 and standard deviation 1 where `rows` is `none`.

    The parcels are drawn into `work` when they are not there; their last column numbers the suppliers.
    """
    if name == PARCELS:
        usual, table = _parcels(work, "none"), _parcels(work, rows)
        table[:, :-1] = (table[:, :-1] - usual[:, :-1].mean(axis=0)) / usual[:, :-1].std(axis=0)
        return table
    from sklearn import datasets

    loaders = {
        "breast-cancer": datasets.load_breast_cancer,
        "diabetes": datasets.load_diabetes,
        "wine": datasets.load_wine,
    }
    table = np.asarray(loaders[name]().data, dtype=np.float64)[:, :MOST_FEATURES]
    return (table - table.mean(axis=0)) / table.std(axis=0)


def reference_of(table: Table, categories: int = 0, seed: int = 0) -> Table:
    """Return the training rows; the last `categories` columns are numbers of values, to which no noise is added."""
    return _drawn(table, categories, REFERENCE_ROWS, np.random.default_rng((seed, 1)))


def windows_of(table: Table, shift: Shift, count: int, categories: int = 0, seed: int = 0) -> Iterator[Table]:
    """Yield `count` windows; the same for the same arguments, and the first ones for a smaller count."""
    numbers = table.shape[1] - categories
    for place in range(count):
        random = np.random.default_rng((seed, 2, place))
        rows = _drawn(table, categories, WINDOW_ROWS, random)
        part = slice(0, min(shift.features, numbers))
        rows[:, part] = rows[:, part] * shift.scale + shift.mean
        moved = rows[:, part]
        moved[random.random(moved.shape) < shift.missing] = 0.0
        yield rows


def _drawn(table: Table, categories: int, count: int, random: np.random.Generator) -> Table:
    rows = table[random.integers(0, len(table), count)]
    numbers = rows[:, : rows.shape[1] - categories]
    numbers += NOISE * random.standard_normal(numbers.shape)
    return rows


def _parcels(work: Path, shift: str) -> Table:
    """Return price and measures (their mean where missing), the pictures' statistics, and the supplier: (rows, 16)."""
    kept = work / f"parcels-{shift}.npy"
    if not kept.exists():
        folder = work / "parcels" / shift
        if not (folder / "images").exists():
            from sextant_examples.parcels.write import write_parcels

            write_parcels(folder, rows=PARCELS_DRAWN[shift], seed=2026, shift=shift)  # type: ignore[arg-type]
        np.save(kept, _measured(folder))
    return np.asarray(np.load(kept), dtype=np.float64)


def _measured(folder: Path) -> Table:
    import polars as pl

    from sextant_examples.parcels.suppliers import KNOWN
    from sextant_plan.schema import ImageInput
    from sextant_serving.preprocessing import decode_image, picture_statistics

    table = pl.read_csv(folder / "table.csv")
    measures = pl.read_parquet(folder / "measures.parquet").sort("measured_at").unique("parcel_id", keep="last")
    joined = table.join(measures, on="parcel_id", how="left", maintain_order="left")
    columns = joined.select("price", "weight_g", "length_cm", "width_cm", "height_cm")
    shown = ImageInput(height=48, width=48, channels=3)
    pictures = np.stack([decode_image((folder / "images" / name).read_bytes(), shown) for name in joined["image"]])
    numbers = {each.name: number for number, each in enumerate(KNOWN)}
    suppliers = [numbers.get(name, len(numbers)) for name in joined["supplier"]]
    numeric = columns.fill_null(strategy="mean").to_numpy()
    return np.column_stack([numeric, *picture_statistics(pictures).values(), suppliers])
