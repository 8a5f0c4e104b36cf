"""Rows from files, sent to a server by any of its four protocols, and the answers in one form."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sextant_plan.bundle import PROBABILITIES, VALUE
from sextant_plan.errors import DataError, InfrastructureError, UsageError

if TYPE_CHECKING:
    from sextant_serving.client import Client

PICTURES = frozenset({".png", ".jpg", ".jpeg"})
TABLES = frozenset({".csv", ".parquet", ".pq"})
PART_ROWS = 32  # of one request: one batch by default, where the server refuses more than its queue holds


@dataclass(frozen=True)
class Row:
    """One row to predict: the picture's file content if it has one, and its columns and key by name."""

    picture: bytes | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Prediction:
    """One answer: a class with its probability, or a number as text without one; `attachments` are files by name."""

    label: str | None
    probability: float | None
    abstained: bool
    prediction_id: str | None
    attachments: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """Return the answer for a reader: label or `(abstains)`, probability if it has one, id."""
        share = "" if self.probability is None else f"{self.probability:.3f}"
        return f"{self.label or '(abstains)':20} {share:5}  {self.prediction_id or ''}"

    def as_json(self) -> dict[str, Any]:
        """Return the answer as JSON values, attachments by name only."""
        return {
            "label": self.label,
            "probability": self.probability,
            "abstained": self.abstained,
            "prediction_id": self.prediction_id,
            "attachments": sorted(self.attachments),
        }


def read_rows(path: Path, extra: Mapping[str, str]) -> list[Row]:
    """Return the rows of a picture, a .json file (one instance, a list, or `{"instances": …}`) or a table.

    `extra` is added to every row. An `image` that names a file beside `path` is read. Raises DataError.
    """
    suffix = path.suffix.lower()
    if suffix in PICTURES:
        return [Row(path.read_bytes(), dict(extra))]
    if suffix == ".json":
        return [_row(path, instance, extra) for instance in _instances(path)]
    if suffix in TABLES:
        from sextant_components.data.table_files import read_table

        return [_row(path, instance, extra) for instance in read_table(path).to_dicts()]
    raise DataError(path, "neither a picture nor .json nor a table", "Give a .png, .jpg, .json, .csv or .parquet file")


def fit_table(client: Client, path: Path, rows: Sequence[Row], asked: Mapping[str, str]) -> tuple[list[Row], str]:
    """Return the rows of a table with the columns that the model reads, and a note on what differs, or "".

    A table comes as it was collected, with its label and more, which the server would refuse. What the user
    `asked` for by name is sent whatever it is called. Raises DataError if the table has nothing that is read.
    """
    with _told(client):
        read = client.input_names()
    given = list(dict.fromkeys(name for row in rows for name in row.fields))
    known = {"image"} if any(row.picture is not None for row in rows) else set()
    lacking = [name for name in read if name not in known | set(given)]
    if len(lacking) == len(read):
        raise DataError(path, "no column is one that the model reads", f"It reads {', '.join(read)}")
    idle = [name for name in given if name not in read and name not in asked]
    notes = [f"left out, the model does not read them: {', '.join(idle)}"] if idle else []
    notes += [f"not in the table, so missing in each row: {', '.join(lacking)}"] if lacking else []
    fitted = [Row(row.picture, {name: value for name, value in row.fields.items() if name not in idle}) for row in rows]
    return fitted, "; ".join(notes)


def _instances(path: Path) -> list[dict[str, Any]]:
    try:
        document = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(path, "not JSON", "Give one instance, a list of them, or an object with `instances`") from error
    if isinstance(document, dict):
        document = document.get("instances", [document])
    if not isinstance(document, list) or not all(isinstance(instance, dict) for instance in document):
        raise DataError(path, "the instances are not objects", 'Write each as {"column": value, …}')
    return document


def _row(path: Path, instance: Mapping[str, Any], extra: Mapping[str, str]) -> Row:
    fields = {**{name: value for name, value in instance.items() if name != "image"}, **extra}
    image = instance.get("image")
    if image is None:
        return Row(None, fields)
    try:
        if isinstance(image, dict):
            return Row(base64.b64decode(image["b64"], validate=True), fields)
        return Row((path.parent / str(image)).read_bytes(), fields)
    except (OSError, KeyError, binascii.Error, TypeError) as error:
        raise DataError(
            path, "an `image` is not a readable file", 'Name a file beside it, or give {"b64": …}'
        ) from error


def predict(client: Client, rows: Sequence[Row], protocol: str, *, attachments: bool) -> list[Prediction]:
    """Return one answer a row; rows beyond PART_ROWS travel in further requests.

    Raises UsageError for what the server refuses or the protocol cannot carry, InfrastructureError when there
    is no server or it fails.
    """
    ask = PROTOCOLS[protocol]
    parts = [rows[start : start + PART_ROWS] for start in range(0, max(1, len(rows)), PART_ROWS)]
    with _told(client):
        return [answer for part in parts for answer in ask(client, part, attachments)]


@contextmanager
def _told(client: Client) -> Iterator[None]:
    """Turn what a request may raise into a usage error or one of infrastructure."""
    from sextant_serving.client import Refused

    try:
        yield
    except Refused as error:
        if error.status < 500:
            raise UsageError(str(error)) from error
        raise
    except OSError as error:
        raise InfrastructureError(
            f"{client.url}: no answer from a server ({error.strerror or error}). Start one with sextant serve, "
            "or name its address with --url."
        ) from error


def _by_v1(client: Client, rows: Sequence[Row], attachments: bool) -> list[Prediction]:
    instances = [dict(row.fields) for row in rows]
    for row, instance in zip(rows, instances, strict=True):
        if row.picture is not None:
            instance["image"] = {"b64": base64.b64encode(row.picture).decode()}
    return [
        Prediction(
            *_said(answer),
            answer["abstained"],
            answer["prediction_id"],
            {name: base64.b64decode(file["b64"]) for name, file in answer.get("attachments", {}).items()},
        )
        for answer in client.predict_v1(instances, attachments=attachments)
    ]


def _said(answer: Mapping[str, Any]) -> tuple[str | None, float | None]:
    """Return label and probability of a v1 prediction; a number is told as text that reads back as the same float32."""
    if VALUE in answer:
        return None if answer[VALUE] is None else f"{answer[VALUE]:.9g}", None
    return answer["label"], max(answer[PROBABILITIES].values())


def _by_v2(client: Client, rows: Sequence[Row], attachments: bool) -> list[Prediction]:
    _no_attachments("v2", attachments)
    tensors: dict[str, Any] = _text_tensors(rows)
    if (pictures := _pictures(rows)) is not None:
        tensors["image"] = [base64.b64encode(picture).decode() for picture in pictures]
    return _from_outputs(client, client.infer_json(tensors))


def _by_v2_binary(client: Client, rows: Sequence[Row], attachments: bool) -> list[Prediction]:
    _no_attachments("v2-binary", attachments)
    tensors: dict[str, Any] = _text_tensors(rows)
    if (pictures := _pictures(rows)) is not None:
        tensors["image"] = pictures
    return _from_outputs(client, client.infer_binary(tensors))


def _by_picture(client: Client, rows: Sequence[Row], attachments: bool) -> list[Prediction]:
    answers: list[Prediction] = []
    for row in rows:
        if row.picture is None:
            raise UsageError("--protocol picture sends a picture as the body, and a row has none. Use v1 or v2.")
        outputs = client.infer_picture(row.picture, row.fields, attachments=attachments)
        files = {name: data for name, data in outputs.items() if name not in {PROBABILITIES, VALUE, "label"}}
        (answer,) = _from_outputs(client, outputs)
        decoded = {name: base64.b64decode(data[0]) for name, data in files.items()}
        answers.append(Prediction(answer.label, answer.probability, answer.abstained, answer.prediction_id, decoded))
    return answers


Protocol = Callable[["Client", Sequence[Row], bool], list[Prediction]]
PROTOCOLS: dict[str, Protocol] = {"v1": _by_v1, "v2": _by_v2, "v2-binary": _by_v2_binary, "picture": _by_picture}


def _no_attachments(protocol: str, attachments: bool) -> None:
    if attachments:
        raise UsageError(
            f"--attachments and --protocol {protocol} exclude each other: only v1 and picture carry files."
        )


def _text_tensors(rows: Sequence[Row]) -> dict[str, Any]:
    """Return one BYTES tensor a column; text keeps a key such as 007, and the server reads numbers from it."""
    names = sorted({name for row in rows for name in row.fields})
    return {name: ["" if row.fields.get(name) is None else str(row.fields[name]) for row in rows] for name in names}


def _pictures(rows: Sequence[Row]) -> list[bytes] | None:
    pictures = [row.picture for row in rows if row.picture is not None]
    if pictures and len(pictures) != len(rows):
        raise UsageError("Some rows have a picture and some have none. Send them as two files.")
    return pictures or None


def _from_outputs(client: Client, outputs: Mapping[str, Any]) -> list[Prediction]:
    """Return answers from v2 outputs; a row in which the model abstains has an empty label."""
    answers = outputs[VALUE] if VALUE in outputs else outputs[PROBABILITIES]
    request = client.prediction_id
    ids = [request] if len(answers) == 1 else [f"{request}.{index}" for index in range(len(answers))]
    if VALUE in outputs:
        return [
            Prediction(f"{row[0]:.9g}", None, abstained=False, prediction_id=name)
            for row, name in zip(answers, ids, strict=True)
        ]
    return [
        Prediction(label or None, float(share.max()), not label, name)
        for label, share, name in zip(outputs["label"], answers, ids, strict=True)
    ]
