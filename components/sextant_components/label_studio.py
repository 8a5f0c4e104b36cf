"""A run's label queue as Label Studio's import, and Label Studio's JSON export as corrections.

The forms are those of Label Studio's task format (https://labelstud.io/guide/task_format): a task has `data`, which
comes back unchanged and so carries the row's key, `predictions` before and `annotations` after a person's work.
"""

from __future__ import annotations

import base64
import json
import mimetypes
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from sextant_components.context import RunContext, Step
from sextant_components.corrections import Correction, read_corrections
from sextant_components.remote_sources import fetch_source
from sextant_components.sources import Source, read_source
from sextant_components.suspects.queue import QUEUE_FILE, QUEUE_TASK, Queued
from sextant_components.table_files import as_text
from sextant_components.tables import stored_name
from sextant_plan.errors import DataError, UsageError
from sextant_plan.files import write_atomically
from sextant_plan.ledger import read_run
from sextant_plan.schema import Data, Plan

if TYPE_CHECKING:
    import polars as pl

ITEM, LABEL, USABLE, REASON = "item", "label", "usable", "reason"  # the names of the controls in the labelling page
LEAVE_OUT = "leave out"
KEY = "sextant"
AS_JSON = "Export from Label Studio as JSON (not JSON-MIN) a project that was made from sextant label queue"


@dataclass(frozen=True)
class Tasks:
    """What was written: how many rows, and how many of the queue are no longer in the source."""

    written: int
    gone: int


@dataclass(frozen=True)
class Imported:
    """What an export came to: lines added, decisions known before, and the rows on which the people disagree."""

    added: int
    known: int
    disputed: list[str]


def write_tasks(context: RunContext, out: Path, *, limit: int | None, pictures_at: str | None) -> Tasks:
    """Write the first rows of a run's label queue to `out`, and the labelling page beside it with the suffix .xml.

    Pictures are embedded, or with `pictures_at` named by that address and their file. Raises UsageError for a run
    that was not verified.
    """
    plan = context.plan
    queue = _read_queue(context)
    fetch_source(plan, context.home)
    source = read_source(plan, context.data_root, context.home)
    places = _places(plan.data, source.rows)
    found = [(row, places[_key(row)]) for row in queue if _key(row) in places]
    tasks = [_task(context, source, row, place, pictures_at) for row, place in islice(found, limit)]
    write_atomically(out, json.dumps(tasks, ensure_ascii=False, indent=1).encode())
    classes = sorted(set(source.rows["label"].to_list()))
    write_atomically(out.with_suffix(".xml"), labelling_page(classes, pictures=source.pictures is not None).encode())
    return Tasks(len(tasks), len(queue) - len(found))


def labelling_page(classes: Iterable[str], *, pictures: bool) -> str:
    """Return Label Studio's labelling configuration: the row, its columns, and what a person may decide."""
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Header", value="Given: $given. Asked because: $asked")
    if pictures:
        ElementTree.SubElement(view, "Image", name=ITEM, value="$image")
    ElementTree.SubElement(view, "Text", name="columns" if pictures else ITEM, value="$columns")
    for name, values in ((LABEL, classes), (USABLE, [LEAVE_OUT])):
        choices = ElementTree.SubElement(view, "Choices", name=name, toName=ITEM, choice="single")
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


def _key(row: Queued) -> tuple[str | None, str | None]:
    return (row.entity, row.time) if row.entity is not None else (row.image, None)


def _places(data: Data, rows: pl.DataFrame) -> dict[tuple[str | None, str | None], int]:
    if data.entity is None:
        if not data.images:
            raise UsageError("the plan's rows have neither entity nor picture. Name their column in data.entity.")
        return {(name, None): place for place, name in enumerate(rows[data.image].to_list())}
    entities = as_text(rows[data.entity]).to_list()
    times = [time.isoformat() for time in rows[data.timestamp].to_list()] if data.timestamp else [None] * len(entities)
    return {key: place for place, key in enumerate(zip(entities, times, strict=True))}


def _task(context: RunContext, source: Source, row: Queued, place: int, pictures_at: str | None) -> dict[str, Any]:
    plan, values = context.plan, source.rows.row(place, named=True)
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
        task["data"]["image"] = _picture(source.pictures[place], row.image, pictures_at)
    if row.suggestion is not None:
        chosen = {"from_name": LABEL, "to_name": ITEM, "type": "choices", "value": {"choices": [row.suggestion]}}
        task["predictions"] = [{"model_version": context.run_id, "score": row.score, "result": [chosen]}]
    return task


def _picture(path: Path, name: str | None, pictures_at: str | None) -> str:
    if pictures_at is not None:
        return f"{pictures_at.rstrip('/')}/{name}"
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def import_export(export: Path, plan: Plan, root: Path, corrections: Path, home: Path) -> Imported:
    """Append what people decided to the corrections; lines that are there stay as they are.

    A row on which they disagree is left alone. Raises DataError for a file of another form, and for a row or label
    that the source under `root` does not have; then nothing is written.
    """
    before = corrections.read_bytes() if corrections.exists() else b""
    last = {_row(item): item for _, item in (read_corrections(corrections) if before else [])}
    decided, disputed = _decisions(export)
    new = [item for item in decided if not _is_known(item, last.get(_row(item)))]
    lines = "".join(json.dumps(item.as_json(), ensure_ascii=False) + "\n" for item in new)
    joint = b"" if not before or before.endswith(b"\n") else b"\n"
    _replace_if_sound(export, plan, root, corrections, before + joint + lines.encode(), home=home)
    return Imported(len(new), len(decided) - len(new), disputed)


def _replace_if_sound(export: Path, plan: Plan, root: Path, corrections: Path, content: bytes, *, home: Path) -> None:
    """Put the new corrections in place once the source has been read with them."""
    trial = corrections.with_name(f".{corrections.name}.trial")
    trial.write_bytes(content)
    try:
        data = plan.data.model_copy(update={"corrections": str(trial.resolve())})
        read_source(plan.model_copy(update={"data": data}), root, home)
    except DataError as error:
        raise DataError(export, error.problem, error.remedy) from error
    finally:
        trial.unlink()
    write_atomically(corrections, content)


def _row(item: Correction) -> tuple[Any, ...]:
    return item.entity, item.image, item.time


def _is_known(item: Correction, last: Correction | None) -> bool:
    return last is not None and (item.action, item.label, item.author) == (last.action, last.label, last.author)


def _decisions(export: Path) -> tuple[list[Correction], list[str]]:
    """Return a correction for each row on which all agree, and the keys of the others."""
    try:
        tasks = json.loads(export.read_bytes())
    except ValueError as error:
        raise DataError(export, "not a JSON file", AS_JSON) from error
    if not isinstance(tasks, list):
        raise DataError(export, "the file holds no list of tasks", AS_JSON)
    decided, disputed = [], []
    for number, task in enumerate(tasks, 1):
        try:
            found = list(_of_task(task))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise DataError(export, f"task {number} lacks what a task has ({error})", AS_JSON) from error
        if len({(item.action, item.label) for item in found}) > 1:
            disputed.append(found[0].key)
        elif found:
            decided.append(found[0])
    return decided, disputed


def _of_task(task: dict[str, Any]) -> Iterator[Correction]:
    key, given = task["data"][KEY], task["data"]["given"]
    for annotation in task["annotations"]:
        answers = {answer["from_name"]: answer["value"] for answer in annotation["result"]}
        label = answers[LABEL]["choices"][0] if LABEL in answers else None
        left_out = USABLE in answers
        if annotation.get("was_cancelled") or (label is None and not left_out):
            continue
        action = "drop" if left_out else "keep" if label == given else "relabel"
        said = answers.get(REASON, {}).get("text") or f"asked because: {task['data']['asked']}"
        fields = {
            **key,
            "action": action,
            "author": _author(annotation["completed_by"]),
            "reason": said if isinstance(said, str) else " ".join(said),
            "date": (annotation.get("updated_at") or annotation["created_at"])[:10],
        }
        yield Correction.model_validate({**fields, "label": label} if action == "relabel" else fields)


def _author(completed_by: int | dict[str, Any]) -> str:
    """Return the person's address where the export has it, else their number in Label Studio."""
    if isinstance(completed_by, dict):
        return str(completed_by.get("email") or f"label-studio user {completed_by['id']}")
    return f"label-studio user {completed_by}"
