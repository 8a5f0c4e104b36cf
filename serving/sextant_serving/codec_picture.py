"""A raw JPEG or PNG as the request's body, with the row's columns and key as query parameters."""

from __future__ import annotations

from collections.abc import Mapping

from sextant_serving.errors import BadRequest
from sextant_serving.rows import Rows, Signature

CONTENT_TYPES = frozenset({"image/jpeg", "image/png"})


def parse_picture(body: bytes, query: Mapping[str, str], signature: Signature, *, keep_fields: bool = False) -> Rows:
    """Return the one row of a picture request; an empty parameter is a missing value. Raises BadRequest."""
    if not signature.image:
        raise BadRequest("body", "a picture", f"This model reads {signature.fields_text}; send JSON")
    if "image" in query or not query.keys() <= signature.fields:
        raise signature.unknown_field("query")
    rows = Rows(1, pictures=[body])
    values = {column.name: [query.get(column.name) or None] for column in signature.sent}
    signature.encode_sent(rows, dict(values))
    entity = signature.optional_entity
    if entity is not None and query.get(entity):
        rows.keys = [query[entity]]
    if keep_fields:
        rows.fields = [dict(query)]
    return signature.check_complete(rows, "query")
