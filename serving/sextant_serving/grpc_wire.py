"""A ModelInferRequest taken apart as bytes, so that what a client repeats in each is read once.

Requests of one client differ in the raw contents, which serializers write last (fields go out by number), and in the
id. Source: Protocol Buffers, "Encoding" (protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

from typing import NamedTuple

LENGTH_DELIMITED = 2
ID, RAW_INPUT_CONTENTS = 3, 7  # numbers of fields in inference.proto


class Parts(NamedTuple):
    """A message's bytes without id and raw contents, the id's bytes, and views of the raw contents."""

    head: bytes
    identifier: bytes
    raw: list[memoryview]


def split(sent: bytes) -> Parts | None:
    """Return the parts of a serialized message; None where it is not written in the usual way, or is no message."""
    at, end, head_start = 0, len(sent), 0
    head, identifier = b"", b""
    raw: list[memoryview] = []
    view = memoryview(sent)
    try:
        while at < end:
            tag = sent[at]
            field_start, size, at = at, sent[at + 1], at + 2
            if size > 0x7F:
                size, at = _varint(sent, at - 1)
            at += size
            number = tag >> 3
            if tag & 7 != LENGTH_DELIMITED or number > RAW_INPUT_CONTENTS or (raw and number != RAW_INPUT_CONTENTS):
                return None
            if number == RAW_INPUT_CONTENTS:
                if not raw:
                    head += sent[head_start:field_start]
                raw.append(view[at - size : at])
            elif number == ID and head_start:
                return None
            elif number == ID:
                head += sent[head_start:field_start]
                identifier, head_start = sent[at - size : at], at
    except IndexError:
        return None
    return Parts(head, identifier, raw) if raw and at == end else None


def _varint(sent: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins at a byte, and where it ends; raises IndexError if it does not."""
    number = shift = 0
    while True:
        byte = sent[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at
        if shift > 63:
            raise IndexError
