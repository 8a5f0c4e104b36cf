"""What a model's rows look like in the prediction log, and the way there from an answered request."""

from __future__ import annotations

import hmac
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sextant_plan.bundle import BundleSpec, Column
from sextant_plan.prediction_log import COLUMNS, INPUT_PREFIX, PICTURE_MEASURES, SCHEMA_KEY, SCHEMA_VERSION, Assignment
from sextant_serving.answers import form_of
from sextant_serving.picture_measures import measured
from sextant_serving.preprocessing import encode_columns
from sextant_serving.rows import Answer, Rows

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True, slots=True)
class Entry:
    """One answered request; `at` is its Unix time, `seconds` what it took. `rows` is what `LogColumns.kept` leaves.

    `thumbnails`, shape (rows, side, side), are measured and not kept.
    """

    at: float
    seconds: float
    ids: list[str]
    assignment: Assignment
    answer: Answer
    rows: Rows
    thumbnails: NDArray[np.uint8] | None = None


class LogColumns:
    """The log's columns for one bundle: those of every model, then the inputs that its plan names."""

    def __init__(self, spec: BundleSpec, labels: tuple[str, str, str], key: bytes | None) -> None:
        """`labels` are the model's name, version and variant; `key` makes the digests, 32 hex digits each."""
        self.labels = labels
        self._form, self._columns, self._key = form_of(spec), spec.columns, key
        self._sent = [place for place, column in enumerate(spec.columns) if column.view is None]
        self._stored = [place for place, column in enumerate(spec.columns) if column.view is not None]
        self._hashed = frozenset(spec.serving.log.hashed)
        wanted = {*spec.serving.log.columns, *self._hashed}
        self._inputs = [(place, column) for place, column in enumerate(spec.columns) if column.name in wanted]
        self._entity = spec.entity if spec.entity in wanted else None
        self.keeps_pictures = spec.serving.log.pictures and spec.image is not None
        self._schema: pyarrow.Schema | None = None

    @property
    def schema(self) -> pyarrow.Schema:
        """The Arrow schema; names by `sextant_plan.prediction_log`."""
        if self._schema is None:
            import pyarrow as pa

            names = pa.dictionary(pa.int32(), pa.string())
            types = {"time": pa.timestamp("us", "UTC"), "text": names, "number": pa.float32(), "flag": pa.bool_()}
            fields = [pa.field(name, types[kind]) for name, kind in COLUMNS.items()]
            fields[1] = pa.field("prediction_id", pa.string())
            for _, column in self._inputs:
                number = column.vocabulary is None and column.name not in self._hashed
                fields.append(pa.field(INPUT_PREFIX + column.name, pa.float32() if number else pa.string()))
            if self._entity is not None:
                fields.append(pa.field(INPUT_PREFIX + self._entity, pa.string()))
            if self.keeps_pictures:
                fields += [pa.field(name, pa.float32()) for name in PICTURE_MEASURES]
            self._schema = pa.schema(fields, metadata={SCHEMA_KEY: SCHEMA_VERSION})
        return self._schema

    def kept(self, rows: Rows) -> Rows:
        """Return what `batch` reads of a request's rows; nothing of it holds on to the request's body."""
        kept = Rows(rows.count, keys=rows.keys if self._entity is not None else None)
        if self._inputs:
            kept.sent = rows.sent
            kept.features = None if rows.features is None else rows.features.copy()  # often a view of the body
        return kept

    def batch(self, entries: Sequence[Entry]) -> pyarrow.RecordBatch:
        """Return the entries' rows in the log's schema."""
        import pyarrow as pa

        counts = [len(entry.ids) for entry in entries]
        rows = sum(counts)
        model, version, variant = self.labels
        abstained = np.concatenate([entry.answer.abstained for entry in entries])
        values: dict[str, Any] = {
            "time": np.repeat([round(entry.at * 1e6) for entry in entries], counts),
            "prediction_id": list(chain.from_iterable(entry.ids for entry in entries)),
            "model": [model] * rows,
            "version": [version] * rows,
            "variant": [variant] * rows,
            "assignment": list(chain.from_iterable(map(repeat, (e.assignment for e in entries), counts))),
            "label": list(chain.from_iterable(self._form.labels(entry.answer) for entry in entries)),
            "probability": np.concatenate([self._form.confidence(entry.answer.outputs) for entry in entries]),
            "abstained": abstained,
            "fallback": list(chain.from_iterable(entry.answer.fallbacks for entry in entries)),
            "seconds": np.repeat(np.array([entry.seconds for entry in entries], np.float32), counts),
        }
        values.update(self._inputs_of(entries))
        if self.keeps_pictures:
            values.update(zip(PICTURE_MEASURES, _measures_of(entries), strict=True))
        return pa.record_batch([pa.array(values[field.name], field.type) for field in self.schema], self.schema)

    def _inputs_of(self, entries: Sequence[Entry]) -> dict[str, list[object]]:
        """Return the named inputs by column; a value is None where the request had none."""
        found: dict[str, list[object]] = {}
        if self._inputs:
            matrix = np.concatenate([self._features_of(entry) for entry in entries])
            for place, column in self._inputs:
                read = [_value(column, number) for number in matrix[:, place].tolist()]
                found[INPUT_PREFIX + column.name] = [self._shown(column.name, value) for value in read]
        if self._entity is not None:
            keys: list[str | None] = []
            for entry in entries:
                keys += entry.rows.keys or [None] * len(entry.ids)
            found[INPUT_PREFIX + self._entity] = [self._shown(self._entity, key) for key in keys]
        return found

    def _features_of(self, entry: Entry) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return (rows, all columns) as the model read them, NaN where the store had nothing."""
        if entry.rows.features is not None:
            return entry.rows.features
        features = np.full((len(entry.ids), len(self._columns)), np.nan, np.float32)
        if entry.rows.sent is not None:
            features[:, self._sent] = entry.rows.sent
        for row, stored in enumerate(entry.answer.stored or ()):
            if stored is not None and self._stored:
                features[row, self._stored] = encode_columns([stored], [self._columns[p] for p in self._stored])[0]
        return features

    def _shown(self, name: str, value: object) -> object:
        if value is None or name not in self._hashed:
            return value
        assert self._key is not None
        return hmac.digest(self._key, f"{name}={value}".encode(), "sha256").hex()[:32]


def _measures_of(entries: Sequence[Entry]) -> NDArray[np.float64]:
    """Return shape (4, rows), NaN for a request without pictures."""
    nothing = [np.full((len(PICTURE_MEASURES), len(entry.ids)), np.nan) for entry in entries]
    parts = [
        measured(entry.thumbnails) if entry.thumbnails is not None else blank
        for entry, blank in zip(entries, nothing, strict=True)
    ]
    return np.concatenate(parts, axis=1)


def _value(column: Column, number: float) -> object:
    """Return what an encoded number stands for: a word of the vocabulary, or itself; None for an unknown one."""
    if math.isnan(number):
        return None
    if column.vocabulary is None:
        return number
    place = int(number)
    return column.vocabulary[place] if 0 <= place < len(column.vocabulary) else None
