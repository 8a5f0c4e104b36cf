"""The scales' side: what each parcel weighs and how large it is, each value with the time it was measured.

Most parcels are weighed some minutes before the picture. Some were weighed with the tray and then corrected:
the later value holds. Some are weighed again after the picture, repacked and heavier: no model may see that
when the picture is taken. About 2 % never reach the scales.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from sextant_examples.parcels.table import Passage

NEVER = 0.02
ONLY_AFTER = 0.01
CORRECTED = 0.06
AFTER = 0.05
REPACKED = 1.15  # filler and a second carton


@dataclass(frozen=True)
class Body:
    """A class of content: medians of weight in g and of the three sides in cm, and how both spread (log scale)."""

    weight: float
    sides: tuple[float, float, float]
    weight_spread: float
    side_spread: float


BODIES = {
    "bag": Body(430, (34, 27, 8), 0.42, 0.16),
    "book": Body(520, (24, 17, 4), 0.40, 0.16),
    "bottle": Body(1150, (32, 10, 10), 0.26, 0.10),
    "electronics": Body(1500, (30, 22, 11), 0.38, 0.18),
    "mug": Body(420, (14, 12, 11), 0.20, 0.12),
    "shoes": Body(950, (32, 21, 12), 0.24, 0.10),
    "toy-box": Body(520, (31, 23, 13), 0.36, 0.20),
    "tube": Body(330, (60, 9, 9), 0.36, 0.26),
}


@dataclass(frozen=True)
class Measure:
    """One visit to the scales."""

    parcel: str
    time: datetime
    weight_g: float
    length_cm: float
    width_cm: float
    height_cm: float


def make_measures(passages: Iterable[Passage], seed: int) -> list[Measure]:
    """Return every measurement of the passages' parcels, by parcel and time."""
    first: dict[str, Passage] = {}
    for passage in passages:
        first.setdefault(passage.parcel, passage)
    measures = []
    for parcel in sorted(first):
        rng = np.random.default_rng([seed, 1_000, int(parcel.removeprefix("P-"))])
        measures += _visits(first[parcel], rng)
    return sorted(measures, key=lambda measure: (measure.parcel, measure.time))


def _visits(passage: Passage, rng: np.random.Generator) -> list[Measure]:
    fate = rng.random()
    if fate < NEVER:
        return []
    body = BODIES[passage.content]
    weight = float(body.weight * np.exp(rng.normal(0, body.weight_spread)))
    sides = np.asarray(body.sides) * np.exp(rng.normal(0, body.side_spread, 3))
    before = passage.time - timedelta(seconds=int(rng.integers(60, 1200)))
    after = passage.time + timedelta(seconds=int(rng.integers(600, 7200)))

    def visit(time: datetime, factor: float, extra: float = 0.0) -> Measure:
        read = np.round(sides * (1 + rng.normal(0, 0.01, 3)), 1)
        grams = round(weight * factor * (1 + float(rng.normal(0, 0.01))) + extra)
        return Measure(passage.parcel, time, float(grams), *(float(side) for side in read))

    if fate < NEVER + ONLY_AFTER:
        return [visit(after, REPACKED)]
    visits = [visit(before, 1.0)]
    if rng.random() < CORRECTED:
        tray = float(rng.uniform(600, 1400))
        visits.insert(0, visit(before - timedelta(seconds=int(rng.integers(120, 900))), 1.0, tray))
    if rng.random() < AFTER:
        visits.append(visit(after, REPACKED))
    return visits


def write_measures(path: Path, measures: list[Measure]) -> None:
    """Write the measurements as Parquet, `measured_at` in UTC: the source of the Feast view."""
    import polars as pl

    pl.DataFrame(
        {
            "parcel_id": [measure.parcel for measure in measures],
            "measured_at": [measure.time for measure in measures],
            **{
                name: [getattr(measure, name) for measure in measures]
                for name in ("weight_g", "length_cm", "width_cm", "height_cm")
            },
        },
        schema_overrides={"measured_at": pl.Datetime("us", "UTC")},
    ).write_parquet(path)
