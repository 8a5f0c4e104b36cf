"""What a request says: rows and the wanted answer of a prediction, by path, headers and query; or a label."""

from __future__ import annotations

import gc
from collections.abc import Mapping

from pydantic import ValidationError

from sextant_plan.feedback import Feedback
from sextant_serving.codec_picture import CONTENT_TYPES, parse_picture
from sextant_serving.codec_v1 import parse_v1
from sextant_serving.codec_v2 import Wanted, parse_v2
from sextant_serving.errors import BadRequest, TooLarge, WrongMediaType
from sextant_serving.http_types import Request
from sextant_serving.model import Model
from sextant_serving.routes import Route
from sextant_serving.rows import Rows

JSON_SHARE, JSON_BYTES = 4, 1 << 20
FEEDBACK_BYTES = 1 << 14  # twice what the longest id and label take, each character escaped


def json_limit(body_bytes: int) -> int:
    """Return how many bytes of JSON a request may have, of a body of at most `body_bytes`.

    JSON is parsed on the event loop: a MiB of short numbers holds everybody up for some 50 ms, binary data for nothing.
    """
    return min(body_bytes, max(body_bytes // JSON_SHARE, JSON_BYTES))


def read_rows(
    model: Model, request: Request, route: Route, query: Mapping[str, str], *, keep_fields: bool, json_bytes: int
) -> tuple[Rows, Wanted | None]:
    """Return a request's rows, and what a v2 response is to hold; None answers in v1.

    `keep_fields` keeps the values as sent. Raises BadRequest, WrongMediaType, and TooLarge for JSON of more than
    `json_bytes` or more rows than the model's queue holds.
    """
    gc.disable()  # a large JSON makes millions of lists, and each collection would walk through those so far
    try:
        return _read(model, request, route, query, keep_fields=keep_fields, json_bytes=json_bytes)
    finally:
        gc.enable()


def _read(
    model: Model, request: Request, route: Route, query: Mapping[str, str], *, keep_fields: bool, json_bytes: int
) -> tuple[Rows, Wanted | None]:
    content_type = request.headers.get(b"content-type", b"").split(b";")[0].strip().lower().decode("latin-1")
    if content_type in CONTENT_TYPES:
        rows = parse_picture(request.body, query, model.signature, keep_fields=keep_fields)
        return rows, None if route.action == "predict" else Wanted.usual(model.signature.form.outputs)
    if content_type.startswith(("image/", "multipart/")):
        raise WrongMediaType
    if route.action == "predict":
        _check_json(len(request.body), json_bytes)
        return parse_v1(request.body, model.signature, keep_fields=keep_fields), None
    if keep_fields:
        raise BadRequest("attachments", "asked of a tensor request", "Send a picture, or use the v1 path")
    length = request.headers.get(b"inference-header-content-length")
    if length is not None and not (length.isdigit() and len(length) < 12):
        raise BadRequest("inference-header-content-length", "not a length", "Send the JSON's bytes")
    _check_json(len(request.body) if length is None else int(length), json_bytes)
    return parse_v2(request.body, None if length is None else int(length), model.signature)


def _check_json(size: int, limit: int) -> None:
    if size > limit:
        raise TooLarge("JSON", limit, "bytes")


def wants_attachments(model: Model, query: dict[str, str]) -> bool:
    """Take `attachments` out of the query and tell whether it is asked for."""
    asked = query.pop("attachments", "false")
    if asked not in ("true", "false"):
        raise BadRequest("attachments", "not true or false", "Send one of them")
    if asked == "true" and model.attach is None:
        raise BadRequest("attachments", "asked of a model that has none", "Name serving.attachment in the plan")
    return asked == "true"


def read_feedback(request: Request) -> Feedback:
    """Return the label or rating that a request brings. Raises BadRequest, and TooLarge beyond FEEDBACK_BYTES."""
    if len(request.body) > FEEDBACK_BYTES:
        raise TooLarge("body", FEEDBACK_BYTES, "bytes")
    try:
        return Feedback.model_validate_json(request.body)
    except ValidationError as error:
        place = error.errors(include_input=False, include_url=False)[0]["loc"]
        field = place[0] if place and place[0] in Feedback.model_fields else "body"
        raise BadRequest(
            str(field), "not as it has to be", "Send prediction_id and label as text, rating as 1 to 5"
        ) from None
