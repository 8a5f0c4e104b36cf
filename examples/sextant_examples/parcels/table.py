"""The order system's side: which parcels pass the camera in 60 days, from whom, at what price, with what inside."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

import numpy as np

from sextant_examples.parcels.suppliers import CLASSES, KNOWN, NEWCOMER, Supplier

Shift = Literal["none", "dark", "new-supplier", "dark-and-new-supplier"]
SHIFTS: tuple[Shift, ...] = ("none", "dark", "new-supplier", "dark-and-new-supplier")
DARKENED: frozenset[Shift] = frozenset({"dark", "dark-and-new-supplier"})
JOINED: frozenset[Shift] = frozenset({"new-supplier", "dark-and-new-supplier"})

DAYS = 60
COLUMNS = ("image", "parcel_id", "event_time", "supplier", "price", "label")
FIRST_DAY = datetime(2026, 3, 2, tzinfo=UTC)
SECOND_PASS = 0.03  # share of the rows that show a parcel for the second time, in a picture of its own
RESENT = 0.003  # share of the rows whose picture the camera sent twice, byte for byte
NO_PRICE = 0.005
MISPICKED = 0.004  # share of the labels that the packer keyed wrongly
NEWCOMER_SHARE = 0.4  # of the parcels once the new supplier has joined

# Median price of each class in EUR, before the supplier's level; prices spread by a factor of e^0.55 either way.
_PRICE = {"bag": 26, "book": 17, "bottle": 14, "electronics": 88, "mug": 13, "shoes": 62, "toy-box": 34, "tube": 16}


@dataclass(frozen=True)
class Passage:
    """One picture of one parcel.

    `content` is what is inside, `label` what was keyed; `picture` numbers the pictures, so that two rows with
    one number have the same bytes. `price` is in EUR, None if the order had none.
    """

    parcel: str
    time: datetime
    supplier: str
    price: float | None
    content: str
    label: str
    picture: int

    def row(self, index: int) -> dict[str, object]:
        """Return the passage as row `index` of the table."""
        price = "" if self.price is None else f"{self.price:.2f}"
        time = self.time.strftime("%Y-%m-%dT%H:%M:%SZ")
        return dict(zip(COLUMNS, (image_name(index), self.parcel, time, self.supplier, price, self.label), strict=True))


def image_name(index: int) -> str:
    """Return the picture's file name for row `index` of the table."""
    return f"{index:06d}.jpg"


def make_passages(rows: int, seed: int, shift: Shift = "none") -> list[Passage]:
    """Return `rows` passages in the order of their times.

    A shifted table starts where the unshifted one ends and numbers its parcels from 500,000, so that the two
    can be served by one feature store.
    """
    rng = np.random.default_rng([seed, SHIFTS.index(shift)])
    shifted = shift != "none"
    first_day = FIRST_DAY + timedelta(days=DAYS if shifted else 0)
    again, resent = round(rows * SECOND_PASS), round(rows * RESENT)
    passages = [
        _parcel(number + (500_000 if shifted else 0), number, _sender(shift, rng), first_day, rng)
        for number in range(rows - again - resent)
    ]
    for index in rng.choice(len(passages), again, replace=False).tolist():
        later = passages[index].time + timedelta(seconds=int(rng.integers(1800, 6 * 3600)))
        passages.append(replace(passages[index], time=later, picture=len(passages)))
    for index in rng.choice(len(passages), resent, replace=False).tolist():
        passages.append(replace(passages[index], time=passages[index].time + timedelta(seconds=2)))
    return sorted(passages, key=lambda passage: (passage.time, passage.parcel))


def _sender(shift: Shift, rng: np.random.Generator) -> Supplier:
    known = KNOWN[int(rng.integers(len(KNOWN)))]
    return NEWCOMER if shift in JOINED and rng.random() < NEWCOMER_SHARE else known


def _parcel(number: int, picture: int, supplier: Supplier, first_day: datetime, rng: np.random.Generator) -> Passage:
    mix = np.asarray(supplier.mix) / sum(supplier.mix)
    content = CLASSES[int(rng.choice(len(CLASSES), p=mix))]
    price = float(_PRICE[content] * supplier.price_level * np.exp(rng.normal(0, 0.55)))
    label = CLASSES[int(rng.integers(len(CLASSES)))] if rng.random() < MISPICKED else content
    return Passage(
        parcel=f"P-{number:06d}",
        time=first_day + _working_hours(rng),
        supplier=supplier.name,
        price=None if rng.random() < NO_PRICE else round(price, 2),
        content=content,
        label=label,
        picture=picture,
    )


def _working_hours(rng: np.random.Generator) -> timedelta:
    """Return a time within DAYS, on a whole second between 06:00 and 22:00."""
    day = int(rng.integers(DAYS))
    second = int(rng.integers(6 * 3600, 22 * 3600))
    return timedelta(days=day, seconds=second)
