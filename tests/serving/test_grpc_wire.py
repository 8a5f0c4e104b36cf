"""A gRPC request's repeated part is told from the rest as protobuf itself would tell it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sextant_serving.codec_grpc import InferRequest
from sextant_serving.errors import BadRequest
from sextant_serving.grpc_protocol import message
from sextant_serving.grpc_wire import split

ModelInferRequest = message("ModelInferRequest")


def request(identifier: str, pixels: bytes = bytes(4)) -> Any:
    """Return a raw request of one input."""
    asked = ModelInferRequest(model_name="m", id=identifier, raw_input_contents=[pixels])
    asked.inputs.add(name="image", datatype="UINT8", shape=[1, len(pixels)])
    return asked


@given(
    model=st.text(max_size=200),
    identifier=st.text(max_size=200),
    names=st.lists(st.text(max_size=20), max_size=4),
    raw=st.lists(st.binary(max_size=300), min_size=1, max_size=4),
)
def test_the_parts_are_the_whole(model: str, identifier: str, names: list[str], raw: list[bytes]) -> None:
    """Head, id and raw contents of any request make the message again."""
    asked = ModelInferRequest(model_name=model, id=identifier, raw_input_contents=raw)
    for name in names:
        asked.inputs.add(name=name, datatype="FP32", shape=[1, 300])
        asked.outputs.add(name=name)
    parts = split(asked.SerializeToString())
    assert parts is not None
    assert parts.raw == raw
    assert parts.identifier.decode() == identifier
    again = ModelInferRequest.FromString(parts.head)
    assert not again.id
    assert not again.raw_input_contents
    again.id = identifier
    again.raw_input_contents.extend(raw)
    assert again == asked


@given(sent=st.binary(max_size=60))
@example(b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
@example(b"\x3a\x05abc")
@example(b"\x3a")
def test_bytes_that_are_no_message_are_left_to_protobuf(sent: bytes) -> None:
    """Whatever is taken apart says the same to protobuf; the rest is refused there."""
    parts = split(sent)
    if parts is None:
        return
    try:
        whole = ModelInferRequest.FromString(sent)
    except Exception:
        with pytest.raises(BadRequest):
            InferRequest.read(sent)
    else:
        assert list(whole.raw_input_contents) == parts.raw
        assert whole.id == parts.identifier.decode()


def test_a_field_after_the_raw_contents_is_left_to_protobuf() -> None:
    """Concatenated messages are one; the later half would be lost if only the earlier were taken apart."""
    late = ModelInferRequest(model_version="7").SerializeToString()
    sent = request("one").SerializeToString() + late
    assert split(sent) is None
    assert InferRequest.read(sent).head.version == "7"


def test_the_head_is_read_once_though_ids_and_data_differ() -> None:
    """Requests that repeat all but id and raw contents share their head, and keep what is their own."""
    first, second = (
        InferRequest.read(request(name, data).SerializeToString()) for name, data in (("a", b"1234"), ("b", b"5678"))
    )
    assert first.head is second.head
    assert (first.identifier, second.identifier) == ("a", "b")
    assert [np.frombuffer(one.raw[0], np.uint8).tobytes() for one in (first, second)] == [b"1234", b"5678"]


def test_an_id_that_is_no_text_is_refused() -> None:
    """It would come back in the answer, where protobuf allows UTF-8 alone."""
    sent = request("x").SerializeToString().replace(b"\x1a\x01x", b"\x1a\x01\xff")
    with pytest.raises(BadRequest, match="id"):
        InferRequest.read(sent)


def test_a_message_with_several_ids_is_left_to_protobuf() -> None:
    """Serializers write one; each further one would copy the head anew."""
    asked = request("once")
    twice = ModelInferRequest(id="twice").SerializeToString() + asked.SerializeToString()
    assert split(asked.SerializeToString()) is not None
    assert split(twice) is None
    assert InferRequest.read(twice).identifier == "once"
