"""What people decided in Label Studio, its JSON export, as corrections: lines that are appended to the plan's file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sextant_components.data.corrections import Correction, read_corrections
from sextant_components.data.label_studio import KEY, LABEL, REASON, USABLE
from sextant_components.data.sources import read_source
from sextant_plan.errors import DataError
from sextant_plan.files import write_atomically
from sextant_plan.schema import Plan

AS_JSON = "Export from Label Studio as JSON (not JSON-MIN) a project that was made from sextant label queue"
AS_USERS = 'Save what Label Studio answers at /api/users, a list of {"id": .., "email": ..}'
People = Mapping[int, str]


@dataclass(frozen=True)
class Imported:
    """What an export came to: lines added, decisions known before, and the rows on which the people disagree."""

    added: int
    known: int
    disputed: list[str]


def read_people(path: Path) -> People:
    """Return each person's address by their number in Label Studio; an export of the open server has numbers alone.

    Raises DataError for a file that is no list of users.
    """
    try:
        return {int(person["id"]): str(person["email"]) for person in json.loads(path.read_bytes())}
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(path, "not a list of Label Studio's users", AS_USERS) from error


def import_export(export: Path, plan: Plan, root: Path, corrections: Path, home: Path, *, people: People) -> Imported:
    """Append what people decided to the corrections; lines that are there stay as they are.

    `people` has addresses by number, as `read_people` gives them. A row on which they disagree is left alone. Raises
    DataError for a file of another form, and for a row or label that the source under `root` does not have; then
    nothing is written.
    """
    before = corrections.read_bytes() if corrections.exists() else b""
    last = {_row(item): item for _, item in (read_corrections(corrections) if before else [])}
    decided, disputed = _decisions(export, people)
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


def _decisions(export: Path, people: People) -> tuple[list[Correction], list[str]]:
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
            found = _last_words(task, people)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise DataError(export, f"task {number} lacks what a task has ({error})", AS_JSON) from error
        if len({(item.action, item.label) for item in found}) > 1:
            disputed.append(found[0].key)
        elif found:
            decided.append(found[0])
    return decided, disputed


def _last_words(task: dict[str, Any], people: People) -> list[Correction]:
    """Return what each person said of a row last: Label Studio lets one annotate a task again beside the first."""
    said = sorted(task["annotations"], key=_instant)
    return list({item.author: item for annotation in said for item in _decision(task, annotation, people)}.values())


def _instant(annotation: dict[str, Any]) -> str:
    """Return when an annotation was last changed, as ISO 8601 text in UTC."""
    return str(annotation.get("updated_at") or annotation["created_at"])


def _decision(task: dict[str, Any], annotation: dict[str, Any], people: People) -> Iterator[Correction]:
    """Yield the correction that an annotation comes to; one that was skipped, or left empty, comes to none."""
    key, given = task["data"][KEY], task["data"]["given"]
    answers = {answer["from_name"]: answer["value"] for answer in annotation["result"]}
    label = answers[LABEL]["choices"][0] if LABEL in answers else None
    left_out = USABLE in answers
    if annotation.get("was_cancelled") or (label is None and not left_out):
        return
    action = "drop" if left_out else "keep" if label == given else "relabel"
    said = answers.get(REASON, {}).get("text") or f"asked because: {task['data']['asked']}"
    fields = {
        **key,
        "action": action,
        "author": _author(annotation, people),
        "reason": said if isinstance(said, str) else " ".join(said),
        "date": _instant(annotation)[:10],
    }
    yield Correction.model_validate({**fields, "label": label} if action == "relabel" else fields)


def _author(annotation: dict[str, Any], people: People) -> str:
    """Return who gave an annotation its last form: the address where the export or `people` has it, else the number."""
    by = annotation["completed_by"]
    named = by if isinstance(by, dict) else {"id": by}
    last: Any = annotation.get("updated_by") or named.get("id")
    address = named.get("email") if last == named.get("id") else None
    return str(address or people.get(last) or f"label-studio user {last}")
