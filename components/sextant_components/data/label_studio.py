"""A run's label queue as the tasks and the labelling page of a Label Studio project.

The forms are those of Label Studio's task format (https://labelstud.io/guide/task_format): a task has `data`, which
comes back unchanged and so carries the row's key, `predictions` before and `annotations` after a person's work, which
`label_answers` reads.
"""

from __future__ import annotations

import base64
import json
import mimetypes
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from xml.etree import ElementTree

from sextant_components.data.remote_sources import fetch_source
from sextant_components.data.sources import Source, read_source
from sextant_components.data.suspects.queue import QUEUE_FILE, QUEUE_TASK, Queued
from sextant_components.data.table_files import as_text
from sextant_components.data.tables import stored_name
from sextant_components.runs.context import RunContext, Step
from sextant_plan.errors import UsageError
from sextant_plan.files import write_atomically
from sextant_plan.ledger import read_run
from sextant_plan.schema import Data, Plan

if TYPE_CHECKING:
    import polars as pl

ITEM, LABEL, USABLE, REASON = "item", "label", "usable", "reason"  # the names of the controls in the labelling page
LEAVE_OUT = "leave out"
KEY = "sextant"
WIDTH = "480px"  # of a picture, which Label Studio draws as wide as the page, with the choices below the screen

Key = tuple[str | None, str | None]  # entity and time, or the picture's file and None


@dataclass(frozen=True)
class Tasks:
    """What was written: how many rows, and how many of the queue are no longer in the source."""

    written: int
    gone: int


@dataclass(frozen=True)
class _Row:
    """A row of the source: its place there, and the values that a task shows."""

    place: int
    values: dict[str, Any]


def write_tasks(
    context: RunContext, out: Path, *, limit: int | None, pictures_at: str | None, blind: bool = False
) -> Tasks:
    """Write the first rows of a run's label queue to `out`, and the labelling page beside it with the suffix .xml.

    Pictures are embedded, or with `pictures_at` named by that address and their file. With `blind` no label is
    suggested. Raises UsageError for a run that was not verified.
    """
    plan = context.plan
    queue = _read_queue(context)
    fetch_source(plan, context.home)
    source = read_source(plan, context.data_root, context.home)
    found, classes = _find(plan, source, {_key(row) for row in queue})
    present = [row for row in queue if _key(row) in found]
    tasks = [_task(plan, source, row, found[_key(row)], pictures_at) for row in islice(present, limit)]
    for task, row in zip(tasks, present, strict=False):
        if row.suggestion is not None and not blind:
            task["predictions"] = [_suggested(row.suggestion, row.score, context.run_id)]
    write_atomically(out, json.dumps(tasks, ensure_ascii=False, indent=1).encode())
    page = labelling_page(sorted(classes), pictures=source.pictures is not None)
    write_atomically(out.with_suffix(".xml"), page.encode())
    return Tasks(len(tasks), len(queue) - len(present))


def labelling_page(classes: Iterable[str], *, pictures: bool) -> str:
    """Return Label Studio's labelling configuration: the row, its columns, and what a person may decide."""
    view = ElementTree.Element("View")
    # No full stop, bracket or brace behind a variable: Label Studio would read it as part of the name.
    ElementTree.SubElement(view, "Header", value="Given: $given, asked because: $asked")
    if pictures:
        ElementTree.SubElement(view, "Image", name=ITEM, value="$image", maxWidth=WIDTH)
    ElementTree.SubElement(view, "Text", name="columns" if pictures else ITEM, value="$columns")
    for name, values in ((LABEL, classes), (USABLE, [LEAVE_OUT])):
        choices = ElementTree.SubElement(view, "Choices", name=name, toName=ITEM, choice="single", showInline="true")
        for value in values:
            ElementTree.SubElement(choices, "Choice", value=value)
    ElementTree.SubElement(view, "TextArea", name=REASON, toName=ITEM, placeholder="Why?", maxSubmissions="1")
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def _read_queue(context: RunContext) -> list[Queued]:
    records = read_run(context.run).get(Step.VERIFY.value, [])
    record = next((record for record in records if record.task == QUEUE_TASK), None)
    if record is None:
        raise UsageError(f"{context.run}: no label queue; its verify step has not come so far. Run the plan first.")
    lines = context.artifacts.read_bytes(record.artifacts[QUEUE_FILE]).splitlines()
    return [Queued(**json.loads(line)) for line in lines]


def _key(row: Queued) -> Key:
    return (row.entity, row.time) if row.entity is not None else (row.image, None)


def _find(plan: Plan, source: Source, wanted: Collection[Key]) -> tuple[dict[Key, _Row], set[str]]:
    """Return the rows of these keys and all classes; the source is gone through in pieces."""
    data = plan.data
    names = ["label", data.entity, data.timestamp, data.image if data.images else None, *plan.model.inputs.columns]
    stored = dict.fromkeys(stored_name(plan, name) for name in names if name)
    found: dict[Key, _Row] = {}
    classes: set[str] = set()
    start = 0
    for batch in source.batches([name for name in stored if name in source.columns]):
        classes.update(batch["label"].unique().to_list())
        for at, key in enumerate(_keys(data, batch)):
            if key in wanted:
                found[key] = _Row(start + at, batch.row(at, named=True))
        start += batch.height
    return found, classes


def _keys(data: Data, rows: pl.DataFrame) -> Iterable[Key]:
    if data.entity is None:
        if not data.images:
            raise UsageError("the plan's rows have neither entity nor picture. Name their column in data.entity.")
        return ((name, None) for name in rows[data.image].to_list())
    entities = as_text(rows[data.entity]).to_list()
    times = [time.isoformat() for time in rows[data.timestamp].to_list()] if data.timestamp else [None] * len(entities)
    return zip(entities, times, strict=True)


def _task(plan: Plan, source: Source, row: Queued, found: _Row, pictures_at: str | None) -> dict[str, Any]:
    values = found.values
    key = {"entity": row.entity, "time": row.time} if row.entity is not None else {"image": row.image}
    shown = [stored_name(plan, name) for name in plan.model.inputs.columns]
    task: dict[str, Any] = {
        "data": {
            "columns": "\n".join(f"{name}: {values[name]}" for name in shown if name in values) or "no columns",
            "given": values["label"],
            "asked": ", ".join(row.reasons),
            KEY: {name: value for name, value in key.items() if value is not None},
        }
    }
    if source.pictures is not None:
        task["data"]["image"] = _picture(source.pictures[found.place], row.image, pictures_at)
    return task


def _suggested(label: str, score: float, run_id: str) -> dict[str, Any]:
    """Return a label as Label Studio's prediction, which a new annotation starts with as its choice."""
    chosen = {"from_name": LABEL, "to_name": ITEM, "type": "choices", "value": {"choices": [label]}}
    return {"model_version": run_id, "score": score, "result": [chosen]}


def _picture(path: Path, name: str | None, pictures_at: str | None) -> str:
    if pictures_at is not None:
        return f"{pictures_at.rstrip('/')}/{quote(str(name))}"
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
