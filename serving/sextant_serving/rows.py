"""What passes between the codecs and the model: the rows of a request, and the rows of its answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sextant_plan.bundle import BundleSpec, Column, RequestColumn
from sextant_serving.answers import form_of
from sextant_serving.errors import BadRequest, TooLarge
from sextant_serving.on_demand import request_values
from sextant_serving.preprocessing import encode_column, is_missing

MAX_KEY = 1024  # characters of an entity's key, far above what online stores take; a logged key waits for the disk
ANY_TEXT = ""  # a vocabulary makes a column one of text; what is in it matters only where the model reads it


@dataclass(slots=True)
class Rows:
    """The decoded rows of one request; every array has `count` rows.

    `image` is UINT8 (rows, height, width, channels), `pictures` undecoded JPEG or PNG in its place,
    `sent` FP32 (rows, columns that come with the request), `features` FP32 (rows, all columns) when the
    client gives the whole tensor. `missing` is BOOL (rows,): where a column that comes with the request has no
    value. `requested` has the values that on-demand features read, by column. `fields` keeps the values as sent, for
    attachments only.
    """

    count: int
    image: NDArray[np.uint8] | None = None
    pictures: list[bytes] | None = None
    sent: NDArray[np.float32] | None = None
    features: NDArray[np.float32] | None = None
    missing: NDArray[np.bool_] | None = None
    keys: list[str] | None = None
    requested: dict[str, list[Any]] | None = None
    fields: list[dict[str, Any]] | None = None


class Times(NamedTuple):
    """When a request passed each stage, by `time.monotonic`; `features_found` is None without a lookup."""

    queued: float
    taken: float
    features_found: float | None
    device_began: float
    device_ended: float


@dataclass(slots=True)
class Answer:
    """The model's answer to one request.

    `outputs` is FP32 (rows, classes) of probabilities, or (rows, 1) of numbers; `best` the most probable class of each
    row, 0 for a number; `abstained` tells where the model does not stand by it, `fallbacks` why a row was answered
    otherwise than usual.
    `stored` holds the looked-up features by row, None where there were none. `times` is there for traces only.
    """

    outputs: NDArray[np.float32]
    best: NDArray[np.intp]
    abstained: NDArray[np.bool_]
    fallbacks: list[str | None]
    stored: Sequence[dict[str, object] | None] | None = None
    times: Times | None = None


def _as_column(requested: RequestColumn) -> Column:
    """Return a request's column that on-demand features alone read, in the form of those that the model reads."""
    return Column(name=requested.name, vocabulary=None if requested.number else [ANY_TEXT])


class Signature:
    """What a request to the bundle may carry, worked out once."""

    def __init__(self, spec: BundleSpec) -> None:
        self.most_rows = spec.serving.queue_rows
        self.image = spec.image
        self.form = form_of(spec)
        self.columns = spec.columns
        self.read = [column for column in spec.columns if column.view is None]
        self.requested = {column.name: column for each in spec.serving.on_demand for column in each.request}
        own = {column.name for column in self.read}
        self.sent = [*self.read, *(_as_column(each) for name, each in self.requested.items() if name not in own)]
        self.stored = [column for column in spec.columns if column.view is not None]
        self.sent_places = [place for place, column in enumerate(spec.columns) if column.view is None]
        self.stored_places = [place for place, column in enumerate(spec.columns) if column.view is not None]
        self.entity = spec.entity if self.stored else None
        self.optional_entity = spec.entity
        names = [column.name for column in self.sent]
        if self.image:
            names.insert(0, "image")
        if spec.entity is not None and spec.entity not in names:
            names.append(spec.entity)
        self.fields = frozenset(names)
        self.fields_text = ", ".join(names)

    def reads_like(self, other: Signature) -> bool:
        """Tell whether rows that were read for `other` are right for this model too."""
        return (
            self.image == other.image
            and self.columns == other.columns
            and self.entity == other.entity
            and self.requested == other.requested
        )

    def check_rows(self, count: int) -> None:
        """Raise TooLarge for more rows than fit in the queue, before each of them is read."""
        if count > self.most_rows:
            raise TooLarge("rows", self.most_rows, "rows")

    def unknown_field(self, where: str) -> BadRequest:
        """Return the error for a field that the model does not read."""
        return BadRequest(where, "a field that this model does not read", f"It reads {self.fields_text}")

    def encode_sent(self, rows: Rows, values: dict[str, Sequence[object] | NDArray[Any]]) -> None:
        """Set the rows' `sent`, `requested` and `missing`, absent columns being missing; nothing if it reads none."""
        if not self.sent:
            return
        rows.sent = np.empty((rows.count, len(self.read)), dtype=np.float32)
        rows.missing = np.zeros(rows.count, dtype=np.bool_)
        nothing: list[object] = [None] * rows.count
        for index, column in enumerate(self.sent):
            given = values.get(column.name, nothing)
            if index < len(self.read):
                rows.sent[:, index] = encode_column(given, column)
            rows.missing |= is_missing(given)
        if self.requested:
            rows.requested = {
                name: request_values(values.get(name, nothing), each) for name, each in self.requested.items()
            }

    def check_image(self, image: NDArray[Any], where: str) -> NDArray[np.uint8]:
        """Return `image` if it is UINT8 of the signature's shape; raises BadRequest."""
        assert self.image is not None
        shape = (self.image.height, self.image.width, self.image.channels)
        if image.ndim != 4 or image.shape[1:] != shape:
            raise BadRequest(where, "another shape than the model's", f"Send rows of {' x '.join(map(str, shape))}")
        return image

    def check_features(self, features: NDArray[Any], where: str) -> NDArray[np.float32]:
        """Return `features` as finite FP32 of the signature's width; raises BadRequest."""
        if features.ndim != 2 or features.shape[1] != len(self.columns):
            raise BadRequest(where, "another width than the model's", f"Send rows of {len(self.columns)} numbers")
        with np.errstate(over="ignore"):
            narrow = features.astype(np.float32, copy=False)
        if not np.isfinite(narrow).all():
            raise BadRequest(where, "a number that is not finite", "Send the columns by name where some are missing")
        return narrow

    def check_complete(self, rows: Rows, where: str) -> Rows:
        """Return `rows` if the model can run on them; raises BadRequest naming what is absent."""
        if rows.count < 1:
            raise BadRequest(where, "no rows", "Send at least one")
        if self.image and rows.image is None and rows.pictures is None:
            raise BadRequest(where, "no image", "This model reads one with every row")
        if self.entity and rows.features is None and rows.keys is None:
            raise BadRequest(where, f"no {self.entity}", "The feature store is asked by it")
        if rows.keys is not None and max(map(len, rows.keys)) > MAX_KEY:
            raise BadRequest(str(self.optional_entity), "too long a key", f"Send at most {MAX_KEY} characters")
        return rows


def joined(parts: Sequence[Any]) -> Any:
    """Return arrays one after the other along their first axis; an only one as it is."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
