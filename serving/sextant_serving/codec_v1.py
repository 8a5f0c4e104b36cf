"""KServe's v1 JSON protocol: `{"instances": [...]}` in, `{"predictions": [...]}` out."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from sextant_serving.answers import AnswerForm
from sextant_serving.errors import BadRequest
from sextant_serving.json_numbers import nested_numbers
from sextant_serving.rows import Answer, Rows, Signature


def parse_json(body: bytes, where: str) -> dict[str, Any]:
    """Return the JSON object in `body`; raises BadRequest."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(where, f"not JSON at byte {error.pos}", "Send one JSON object") from None
    if not isinstance(document, dict):
        raise BadRequest(where, "not an object", "Send one JSON object")
    return document


def parse_v1(body: bytes, signature: Signature, *, keep_fields: bool = False) -> Rows:
    """Return the rows of a v1 request; `keep_fields` keeps the values as sent. Raises BadRequest."""
    instances = parse_json(body, "body").get("instances")
    if not isinstance(instances, list) or not instances:
        raise BadRequest("instances", "not a list of rows", "Send at least one row")
    signature.check_rows(len(instances))
    if all(isinstance(instance, dict) for instance in instances):
        return _parse_objects(instances, signature, keep_fields)
    if any(isinstance(instance, dict) for instance in instances):
        raise BadRequest("instances", "objects beside lists", "Send one kind")
    if signature.image and not signature.columns:
        return Rows(len(instances), image=parse_pixels(instances, signature, "instances"))
    if signature.image:
        raise BadRequest("instances", "lists", "This model reads an image and columns, so send objects")
    return Rows(len(instances), features=signature.check_features(parse_numbers(instances, "instances"), "instances"))


def parse_numbers(nested: object, where: str) -> NDArray[np.float64]:
    """Return nested lists of numbers as an array, null as NaN; raises BadRequest."""
    try:
        numbers = nested_numbers(nested)
    except (ValueError, TypeError, OverflowError):
        raise BadRequest(where, "not numbers in lists of equal length", "Send one list for each row") from None
    return numbers.astype(np.float64)


def parse_pixels(nested: object, signature: Signature, where: str) -> NDArray[np.uint8]:
    """Return nested lists of whole numbers from 0 to 255 as pictures; raises BadRequest."""
    pixels = parse_numbers(nested, where)
    valid = pixels.size == 0 or bool((pixels == np.floor(pixels)).all() and pixels.min() >= 0 and pixels.max() <= 255)
    if not valid:
        raise BadRequest(where, "pixels that are not whole numbers from 0 to 255", "Send UINT8 values")
    return signature.check_image(pixels.astype(np.uint8), where)


def parse_base64(text: object, where: str) -> bytes:
    """Return the bytes of base64 text; raises BadRequest."""
    try:
        return base64.b64decode(text, validate=True)  # type: ignore[arg-type]
    except (binascii.Error, TypeError, ValueError):
        raise BadRequest(where, "not base64", "Encode the file with the standard alphabet and padding") from None


def _parse_objects(instances: list[dict[str, Any]], signature: Signature, keep_fields: bool) -> Rows:
    for index, instance in enumerate(instances):
        if not instance.keys() <= signature.fields:
            raise signature.unknown_field(f"instances[{index}]")
    rows = Rows(len(instances))
    if signature.image:
        _parse_images(instances, signature, rows)
    values: dict[str, Sequence[object] | NDArray[Any]] = {}
    for column in signature.sent:
        values[column.name] = [instance.get(column.name) for instance in instances]
    signature.encode_sent(rows, values)
    entity = signature.optional_entity
    if entity is not None and (signature.entity or any(entity in instance for instance in instances)):
        rows.keys = [_entity_key(instance, entity, index) for index, instance in enumerate(instances)]
    if keep_fields:
        rows.fields = [{name: value for name, value in item.items() if name != "image"} for item in instances]
    return signature.check_complete(rows, "instances")


def _parse_images(instances: list[dict[str, Any]], signature: Signature, rows: Rows) -> None:
    images = [instance.get("image") for instance in instances]
    if all(isinstance(image, dict) and image.keys() == {"b64"} for image in images):
        rows.pictures = [parse_base64(image["b64"], f"instances[{i}].image.b64") for i, image in enumerate(images)]  # type: ignore[index]
    elif all(isinstance(image, list) for image in images):
        rows.image = parse_pixels(images, signature, "instances[].image")
    else:
        raise BadRequest("instances[].image", "not a picture", 'Send {"b64": ...} in every row, or pixels in every row')


def _entity_key(instance: Mapping[str, Any], entity: str, index: int) -> str:
    key = instance.get(entity)
    if isinstance(key, bool) or not isinstance(key, str | int) or key == "":
        raise BadRequest(f"instances[{index}].{entity}", "not a key", "Send text or a whole number")
    return str(key)


def render_v1(
    answer: Answer, form: AnswerForm, ids: Sequence[str], attachments: Sequence[Mapping[str, bytes]] | None
) -> bytes:
    """Return the JSON of a v1 response; an abstained row has no label."""
    predictions = describe_rows(answer, form, ids)
    if attachments is not None:
        for prediction, files in zip(predictions, attachments, strict=True):
            prediction["attachments"] = {name: {"b64": base64.b64encode(data).decode()} for name, data in files.items()}
    return orjson.dumps({"predictions": predictions})


def describe_rows(answer: Answer, form: AnswerForm, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return one v1 prediction a row."""
    abstained = answer.abstained.tolist()
    return [
        {**said, "abstained": abstained[row], "fallback": answer.fallbacks[row], "prediction_id": ids[row]}
        for row, said in enumerate(form.described(answer))
    ]
