"""Rows of a split sent to a running server as its clients would send them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sextant_components.data.table_files import as_booleans, as_numbers, as_text
from sextant_components.data.tables import SplitName, image_bytes, read_rows, read_split
from sextant_plan.bundle import BundleSpec
from sextant_plan.schema import Plan

if TYPE_CHECKING:
    import polars as pl

    from sextant_serving.client import Client


@dataclass(frozen=True)
class LiveRow:
    """One row as a client has it: the original picture, the request's columns, the key, and the truth."""

    fields: dict[str, str | float | None]
    picture: bytes | None
    label: str


@dataclass
class Replay:
    """What came of the rows sent: answers by HTTP status, and labels by how they met their prediction.

    `labelled` has each row whose label was sent, with what was answered; None where the model abstained.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    labelled: list[tuple[LiveRow, str | None]] = field(default_factory=list)

    @property
    def sent(self) -> int:
        """How many rows were sent."""
        return self.statuses.total()


def live_rows(plan: Plan, spec: BundleSpec, *, snapshot: Path, splits: Path, name: SplitName) -> list[LiveRow]:
    """Return a split's rows with the values of the snapshot, before any encoding."""
    chosen = read_split(splits, name).select("row_id")
    rows = chosen.join(read_rows(snapshot), on="row_id", how="left", maintain_order="left")
    columns = {name: _as_sent(plan, rows[name]) for name in plan.requested}
    if spec.entity is not None:
        columns[spec.entity] = [None if value is None else str(value) for value in rows[spec.entity].to_list()]
    pictures: Sequence[bytes | None] = [None] * rows.height
    if spec.image is not None:
        pictures = image_bytes(snapshot, rows["row_id"].to_list())
    return [
        LiveRow({key: values[place] for key, values in columns.items()}, picture, str(label))
        for place, (picture, label) in enumerate(zip(pictures, rows["label"].to_list(), strict=True))
    ]


def _as_sent(plan: Plan, column: pl.Series) -> list[str | float | None]:
    """Return a column's values by its rule; true and false go as 1 and 0, which a query string can carry."""
    kind = plan.data.columns[column.name].type
    if kind == "number":
        return as_numbers(column).to_list()
    if kind == "boolean":
        return [None if value is None else float(value) for value in as_booleans(column).to_list()]
    return as_text(column).to_list()


def send_rows(client: Client, rows: Sequence[LiveRow], replay: Replay, *, label_every: int) -> None:
    """Send each row once, one after the other, and the label of every `label_every`-th that was answered."""
    for place, row in enumerate(rows):
        answer = _send(client, row, replay)
        if answer is not None and place % label_every == 0 and client.prediction_id is not None:
            replay.outcomes[client.send_feedback(client.prediction_id, row.label)] += 1
            replay.labelled.append((row, _said(answer)))


def send_more(client: Client, rows: Sequence[LiveRow], replay: Replay, *, total: int) -> None:
    """Repeat the rows until `total` have been sent, for what is judged by the request and not by the row."""
    for row in _repeated(rows, total - replay.sent):
        _send(client, row, replay)


def _repeated(rows: Sequence[LiveRow], times: int) -> Iterator[LiveRow]:
    return islice(cycle(rows), max(times, 0))


def _said(answer: Mapping[str, Any]) -> str | None:
    """Return the label or the number of one row's answer, None where the model abstained."""
    found = answer.get("label", answer.get("value"))
    said = found[0] if isinstance(found, list) else found
    return None if said in (None, "") else str(said)


def _send(client: Client, row: LiveRow, replay: Replay) -> Mapping[str, Any] | None:
    """Send a row; return its answer, None where it was refused."""
    from sextant_serving.client import Refused

    try:
        if row.picture is not None:
            answer: Mapping[str, Any] = client.infer_picture(row.picture, row.fields)
        else:
            (answer,) = client.predict_v1([row.fields])
    except Refused as refusal:
        replay.statuses[refusal.status] += 1
        return None
    replay.statuses[200] += 1
    return answer
