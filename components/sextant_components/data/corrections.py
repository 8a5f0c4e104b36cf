"""A person's corrections of single rows: a file beside the data, replayed at every ingest and undone line by line.

Each line of the file is one JSON object (`Correction`). The source itself is never changed: a later line on a row
takes the place of an earlier one, and a line that is removed is as if it had never been.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import AwareDatetime, Field, ValidationError, model_validator

from sextant_components.data.source_rows import Rows
from sextant_components.data.table_files import as_text
from sextant_plan.canonical import digest_of_bytes
from sextant_plan.errors import DataError
from sextant_plan.fault import choose, meant
from sextant_plan.schema import Closed, Data

if TYPE_CHECKING:
    import polars as pl

ORIGINAL_LABEL = "original_label"
CORRECTION = "correction"
SEARCHED_KEYS = 10_000  # among more a near miss is looked for too long
FORM = 'Write it as {"entity": .., "action": "relabel", "label": .., "author": .., "reason": .., "date": "2026-11-23"}'


class Correction(Closed):
    """One line: the row by its entity (with its time, if it has several rows) or its picture, and what to do.

    `relabel` gives it another label, `drop` leaves it out, `keep` says that a suspect is right as it is.
    """

    entity: str | None = None
    image: str | None = None
    time: AwareDatetime | None = None
    action: Literal["relabel", "drop", "keep"]
    label: str | None = None
    author: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    date: dt.date

    @model_validator(mode="after")
    def _names_one_row_and_one_label(self) -> Self:
        if (self.entity is None) == (self.image is None):
            raise ValueError("name the row by its entity or by its image, not both")
        if self.time is not None and self.entity is None:
            raise ValueError("a time goes with an entity")
        if (self.action == "relabel") != (self.label is not None):
            raise ValueError("a relabel, and only that, names the new label")
        return self

    @property
    def key(self) -> str:
        """The row's key, for messages."""
        return str(self.entity if self.entity is not None else self.image)

    def as_json(self) -> dict[str, Any]:
        """Return the line's fields, those that are not given left out."""
        return self.model_dump(mode="json", exclude_none=True)


@dataclass(frozen=True)
class Applied:
    """The corrections of a source: the file's content, and for each that holds its line and the label it met."""

    content: bytes
    lines: int
    done: list[tuple[int, Correction, str]]

    @property
    def digest(self) -> str:
        """The digest of the corrections file."""
        return digest_of_bytes(self.content)

    def count(self, action: str) -> int:
        """Return how many rows a kind of correction changed or judged."""
        return sum(1 for _, correction, _ in self.done if correction.action == action)

    def listed(self) -> list[dict[str, Any]]:
        """Return every correction that holds as JSON values, in the order of the file."""
        return [{"line": line, "given": given, **correction.as_json()} for line, correction, given in self.done]


def read_corrections(path: Path) -> list[tuple[int, Correction]]:
    """Return each correction with its 1-based line; blank lines are passed over.

    Raises DataError naming the line that is no correction.
    """
    try:
        return list(_parsed(path, path.read_bytes()))
    except FileNotFoundError as error:
        remedy = "Make an empty file of that name, or write it with: sextant label import"
        raise DataError(path, "no such file, which data.corrections names", remedy) from error


def _parsed(path: Path, content: bytes) -> Iterator[tuple[int, Correction]]:
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            yield number, Correction.model_validate(json.loads(line))
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or "the line"
            raise DataError(where, f"{field}: {first['msg'].removeprefix('Value error, ').lower()}", FORM) from error
        except ValueError as error:
            raise DataError(where, "not a JSON object", FORM) from error


@dataclass(frozen=True)
class Corrections:
    """The corrections of a source by the place of their row, and what `applied` puts on record."""

    by_place: dict[int, Correction]
    applied: Applied

    def correct(self, batch: pl.DataFrame, start: int) -> pl.DataFrame:
        """Return a piece of the rows, of which the first has the place `start`, corrected; dropped rows are left out.

        With its label it gets `original_label`, as the source gave it, and always `correction`, the action or null.
        """
        import polars as pl

        here = [(place - start, item) for place, item in self.by_place.items() if 0 <= place - start < batch.height]
        actions: list[str | None] = [None] * batch.height
        for index, item in here:
            actions[index] = item.action
        if "label" in batch.columns:
            labels: list[str] = batch["label"].to_list()
            given = pl.Series(ORIGINAL_LABEL, labels, dtype=pl.String)
            for index, item in here:
                labels[index] = item.label or labels[index]
            batch = batch.with_columns(pl.Series("label", labels, dtype=pl.String), given)
        kept = pl.Series([action != "drop" for action in actions], dtype=pl.Boolean)
        return batch.with_columns(pl.Series(CORRECTION, actions, dtype=pl.String)).filter(kept)


def find_corrections(path: Path, rows: Rows, data: Data) -> Corrections:
    """Return the corrections of a file by the row that each names; of several on a row the last holds.

    Raises DataError for a line whose row or label is not there.
    """
    lines = read_corrections(path)
    index = _Index(rows, data, [correction for _, correction in lines])
    last: dict[int, tuple[int, Correction]] = {}
    for number, correction in lines:
        where = f"{path}:{number}"
        if correction.label is not None and correction.label not in index.classes:
            problem = f"{correction.label} is no class of the data"
            raise DataError(where, problem, choose(correction.label, sorted(index.classes)))
        last[index.place(where, correction)] = (number, correction)
    done = sorted(
        ((number, item, index.given[place]) for place, (number, item) in last.items()), key=lambda one: one[0]
    )
    by_place = {place: item for place, (_, item) in last.items()}
    return Corrections(by_place, Applied(path.read_bytes(), len(lines), done))


def reviewed_rows(batches: Iterable[pl.DataFrame]) -> dict[int, str]:
    """Return the action of each row of a snapshot that a correction judged, by row id; the rows come in pieces."""
    found: dict[int, str] = {}
    for batch in batches:
        if CORRECTION in batch.columns:
            judged = batch.filter(batch[CORRECTION].is_not_null())
            found.update(zip(judged["row_id"].to_list(), judged[CORRECTION].to_list(), strict=True))
    return found


class _Index:
    """The places of the rows that some corrections name, their times and labels, and the classes of all rows."""

    def __init__(self, rows: Rows, data: Data, wanted: Sequence[Correction]) -> None:
        self._rows, self._data = rows, data
        self._by: dict[str, dict[str, list[int]]] = {}
        self._times: dict[int, Any] = {}
        self.given: dict[int, str] = {}
        self.classes: set[str] = set()
        columns = {name for name in (data.entity, data.image if data.images else None) if name}
        keys = {
            name: {item.key for item in wanted if (item.entity is None) == (name == data.image)} for name in columns
        }
        start = 0
        for batch in rows.batches(["label", *columns, *([data.timestamp] if data.timestamp else [])]):
            self.classes.update(batch["label"].unique().to_list())
            for name in columns:
                self._note(batch, name, keys[name], start)
            start += batch.height

    def _note(self, batch: pl.DataFrame, name: str, keys: set[str], start: int) -> None:
        places = self._by.setdefault(name, {})
        for at in as_text(batch[name]).is_in(list(keys)).arg_true().to_list():
            places.setdefault(str(batch[name][at]), []).append(start + at)
            self.given[start + at] = batch["label"][at]
            if self._data.timestamp:
                self._times[start + at] = batch[self._data.timestamp][at]

    def place(self, where: str, correction: Correction) -> int:
        """Return the place of the one row that a correction names; raises DataError unless there is one."""
        column, key = (
            (self._data.entity, "data.entity")
            if correction.entity is not None
            else (self._data.image if self._data.images else None, "data.images")
        )
        if column is None:
            raise DataError(where, f"the rows have no {key}", f"Name it in the plan, or the row by another key. {FORM}")
        places = self._by[column].get(correction.key, [])
        if not places:
            remedy = self._close(column, correction.key) or "Correct the key, or remove the line"
            raise DataError(where, f"no row has the key {correction.key}", remedy)
        if correction.time is not None and self._times:
            places = [place for place in places if self._times[place] == correction.time]
        if len(places) == 1:
            return places[0]
        if not places:
            raise DataError(where, f"{correction.key} has no row at {correction.time}", "Correct the time")
        remedy = "Add the row's time" if correction.entity is not None else "Name the row by its entity"
        raise DataError(where, f"{correction.key} names {len(places)} rows", remedy)

    def _close(self, column: str, key: str) -> str | None:
        """Return the key that was meant, where the rows are few enough to look through."""
        known: set[str] = set()
        for batch in self._rows.batches([column]):
            known.update(as_text(batch[column]).drop_nulls().to_list())
            if len(known) > SEARCHED_KEYS:
                return None
        return meant(key, known)
