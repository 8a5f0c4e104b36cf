"""The Open Inference Protocol (v2) over REST: tensors as JSON or as binary data, in and out."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from sextant_serving.answers import AnswerForm
from sextant_serving.codec_v1 import parse_base64, parse_json
from sextant_serving.errors import BadRequest
from sextant_serving.preprocessing import category_text
from sextant_serving.rows import Answer, Rows, Signature
from sextant_serving.tensors import InputTensor, OutputTensor, TensorHead, objects_in, read_heads, read_tensors

ON_REQUEST = ("abstained", "fallback", "prediction_id")


# A client's requests differ in their binary data and seldom in the JSON before it, which is therefore remembered.
HEADS_KEPT, HEAD_BYTES_KEPT = 256, 1 << 11


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks of its response: each output with whether it comes as binary data, and the request's id."""

    outputs: list[tuple[str, bool]]
    id: str | None = None

    @classmethod
    def usual(cls, outputs: Sequence[str], *, binary: bool = False, identifier: str | None = None) -> Wanted:
        """Return what a request gets that names no outputs: the model's."""
        return cls([(name, binary) for name in outputs], identifier)


def parse_v2(body: bytes, json_length: int | None, signature: Signature) -> tuple[Rows, Wanted]:
    """Return the rows of a v2 request and what it wants back.

    `json_length` is the length of the JSON before the binary data, None if all is JSON. Raises BadRequest.
    """
    if json_length is not None and not 0 <= json_length <= len(body):
        raise BadRequest("inference-header-content-length", "not a length within the body", "Send the JSON's bytes")
    split = len(body) if json_length is None else json_length
    is_kept = json_length is not None and json_length <= HEAD_BYTES_KEPT
    heads, wanted = (_read_kept if is_kept else _read_head)(body[:split], signature.form.outputs)
    for head in heads:
        signature.check_rows(objects_in(head.datatype, head.shape))
    return rows_of(read_tensors(heads, memoryview(body)[split:]), signature), wanted


def _read_head(head: bytes, outputs: tuple[str, ...]) -> tuple[list[TensorHead], Wanted]:
    """Return what a request's JSON says of its tensors, and wants of a model with these outputs. Raises BadRequest."""
    document = parse_json(head, "body")
    return read_heads(document.get("inputs")), _wanted_of(document, outputs)


_read_kept = lru_cache(maxsize=HEADS_KEPT)(_read_head)


def rows_of(tensors: list[InputTensor], signature: Signature) -> Rows:
    """Return the rows that a request's tensors hold; raises BadRequest for what the model does not read."""
    rows = Rows(tensors[0].shape[0])
    values: dict[str, Sequence[object] | NDArray[Any]] = {}
    for index, tensor in enumerate(tensors):
        where = f"inputs[{index}]"
        if tensor.shape[0] != rows.count:
            raise BadRequest(f"{where}.shape", "another number of rows than the first input's", "Send equal numbers")
        if tensor.name == "image" and signature.image:
            _set_image(rows, tensor, signature, where)
        elif tensor.name in signature.fields:
            values[tensor.name] = _column_values(tensor, where)
        elif tensor.name == "features" and signature.columns:
            if tensor.array is None:
                raise BadRequest(f"{where}.datatype", "BYTES", "Send FP32")
            rows.features = signature.check_features(tensor.array, where)
        else:
            raise signature.unknown_field(f"{where}.name")
    if rows.features is not None and values:
        raise BadRequest("inputs", "features beside columns", "Send the whole tensor or the columns by name")
    entity = signature.optional_entity
    if entity is not None and entity in values:
        if any(key is None for key in values[entity]):
            raise BadRequest(entity, "an empty key", "Send the entity's key in every row")
        rows.keys = [category_text(key) for key in values[entity]]
    if rows.features is None:
        signature.encode_sent(rows, values)
    return signature.check_complete(rows, "inputs")


def _set_image(rows: Rows, tensor: InputTensor, signature: Signature, where: str) -> None:
    if tensor.elements is not None:
        if len(tensor.elements) != rows.count:
            raise BadRequest(f"{where}.shape", "more than one picture a row", "Send BYTES of shape [rows]")
        rows.pictures = [
            element if isinstance(element, bytes) else parse_base64(element, f"{where}.data")
            for element in tensor.elements
        ]
    elif tensor.datatype != "UINT8":
        raise BadRequest(f"{where}.datatype", "a picture in another type", "Send UINT8 pixels or BYTES of files")
    else:
        assert tensor.array is not None
        rows.image = signature.check_image(tensor.array, where)


def _column_values(tensor: InputTensor, where: str) -> Sequence[object] | NDArray[Any]:
    """Return one value a row; empty text is a missing value."""
    if any(size != 1 for size in tensor.shape[1:]):
        raise BadRequest(f"{where}.shape", "more than one value a row", "Send shape [rows]")
    if tensor.array is not None:
        return tensor.array.reshape(-1)
    assert tensor.elements is not None
    try:
        texts = [part.decode() if isinstance(part, bytes) else part for part in tensor.elements]
    except UnicodeDecodeError:
        raise BadRequest(where, "text that is not UTF-8", "Encode it as UTF-8") from None
    return [text or None for text in texts]


def _wanted_of(document: dict[str, Any], outputs: tuple[str, ...]) -> Wanted:
    identifier = document.get("id")
    if identifier is not None and not isinstance(identifier, str):
        raise BadRequest("id", "not text", "Send text or leave it out")
    binary = _flag(document.get("parameters"), "binary_data_output", "parameters")
    asked = document.get("outputs")
    if not asked:
        return Wanted.usual(outputs, binary=binary, identifier=identifier)
    if not isinstance(asked, list):
        raise BadRequest("outputs", "not a list", "Name the outputs, or leave them out")
    wanted: list[tuple[str, bool]] = []
    for index, output in enumerate(asked):
        name = output.get("name") if isinstance(output, dict) else None
        name = check_output(name, outputs, [taken for taken, _ in wanted], f"outputs[{index}].name")
        where = f"outputs[{index}].parameters"
        wanted.append((name, _flag(output.get("parameters"), "binary_data", where, default=binary)))
    return Wanted(wanted, identifier)


def check_output(name: object, outputs: tuple[str, ...], taken: Sequence[str], where: str) -> str:
    """Return `name` if it is one of the model's `outputs` or of ON_REQUEST, and not taken. Raises BadRequest."""
    known = outputs + ON_REQUEST
    if not isinstance(name, str) or name not in known:
        raise BadRequest(where, "no such output", f"Ask for {', '.join(known)}")
    if name in taken:
        raise BadRequest(where, "an output twice", "Ask for each once")
    return name


def _flag(parameters: object, name: str, where: str, *, default: bool = False) -> bool:
    if parameters is None:
        return default
    if not isinstance(parameters, dict):
        raise BadRequest(where, "not an object", "Send parameters by name")
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise BadRequest(f"{where}.{name}", "not true or false", "Send one of them")
    return value


@dataclass(frozen=True, slots=True)
class Served:
    """Who answers: the model's name, version and the form of its answers."""

    name: str
    version: str
    form: AnswerForm


def render_v2(
    answer: Answer,
    wanted: Wanted,
    served: Served,
    ids: Sequence[str],
    attachments: Mapping[str, bytes] | None = None,
) -> tuple[bytes, int | None]:
    """Return the response's body and the length of its JSON, None if it is all JSON.

    `attachments` become further BYTES outputs in base64.
    """
    described, parts = [], []
    for name, binary in wanted.outputs:
        description, data = output_of(name, answer, served.form, ids).describe(binary=binary)
        described.append(description)
        parts.append(data)
    for name, content in (attachments or {}).items():
        tensor = OutputTensor(name, "BYTES", [base64.b64encode(content).decode()], content_type="base64")
        described.append(tensor.describe(binary=False)[0])
    head = orjson.dumps(
        {"model_name": served.name, "model_version": served.version, "id": wanted.id or ids[0], "outputs": described}
    )
    if not any(binary for _, binary in wanted.outputs):
        return head, None
    return b"".join((head, *parts)), len(head)


def output_of(name: str, answer: Answer, form: AnswerForm, ids: Sequence[str]) -> OutputTensor:
    """Return one of the form's outputs or of ON_REQUEST."""
    if name in form.outputs:
        return form.tensor(name, answer)
    if name == "abstained":
        return OutputTensor(name, "BOOL", np.asarray(answer.abstained))
    if name == "fallback":
        return OutputTensor(name, "BYTES", [reason or "" for reason in answer.fallbacks])
    return OutputTensor(name, "BYTES", list(ids))


def describe_inputs(signature: Signature) -> list[dict[str, Any]]:
    """Return the metadata of what a request carries, -1 standing for rows."""
    described: list[dict[str, Any]] = []
    if signature.image:
        image = signature.image
        shape = [-1, image.height, image.width, image.channels]
        described.append({"name": "image", "datatype": "UINT8", "shape": shape})
    for column in signature.sent:
        described.append({"name": column.name, "datatype": "BYTES" if column.vocabulary else "FP32", "shape": [-1]})
    if signature.entity:
        described.append({"name": signature.entity, "datatype": "BYTES", "shape": [-1]})
    return described


def describe_outputs(signature: Signature) -> list[dict[str, Any]]:
    """Return the metadata of what a response carries unless the request names its outputs."""
    return signature.form.metadata()
