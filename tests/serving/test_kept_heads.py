"""The JSON before binary tensors is remembered: what follows it is not, nor what was refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from sextant_plan.bundle import read_bundle
from sextant_serving.codec_v2 import HEAD_BYTES_KEPT, parse_v2
from sextant_serving.errors import BadRequest
from sextant_serving.rows import Signature

PIXELS = 64


@pytest.fixture(scope="module")
def signature(bundle: Path) -> Signature:
    """What the tiny bundle reads: a picture and two columns."""
    return Signature(read_bundle(bundle))


def head(**more: Any) -> bytes:
    """Return the JSON of a request with a picture and two features."""
    image = {"name": "image", "datatype": "UINT8", "shape": [1, 8, 8, 1], "parameters": {"binary_data_size": PIXELS}}
    features = {"name": "features", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}}
    return orjson.dumps({"inputs": [image, features], **more})


def data(value: int) -> bytes:
    """Return a picture of one colour and two ones."""
    return bytes([value] * PIXELS) + np.ones(2, np.float32).tobytes()


@pytest.mark.parametrize("padding", [0, HEAD_BYTES_KEPT])
def test_each_request_has_its_own_rows_behind_the_same_head(signature: Signature, padding: int) -> None:
    """A short head that comes again, and one too long to keep, are read with the bytes that came with them."""
    same = head(id="x" * padding) if padding else head()
    for value in (7, 9):
        rows, wanted = parse_v2(same + data(value), len(same), signature)
        assert rows.image is not None
        assert rows.image.ravel().tolist() == [value] * PIXELS
        assert wanted.id == ("x" * padding or None)


def test_a_remembered_head_is_refused_with_too_few_or_too_many_bytes(signature: Signature) -> None:
    """What a head promises is checked against every body."""
    same = head()
    parse_v2(same + data(1), len(same), signature)
    for body in (data(1)[:-1], data(1) + b"x"):
        with pytest.raises(BadRequest):
            parse_v2(same + body, len(same), signature)


def test_a_bad_head_is_refused_each_time(signature: Signature) -> None:
    """With the same words."""
    bad = head(outputs=[{"name": "colour"}])
    for _ in range(2):
        with pytest.raises(BadRequest, match=r"outputs\[0\]\.name: no such output"):
            parse_v2(bad + data(1), len(bad), signature)


def test_requests_that_differ_in_what_they_want_are_told_apart(signature: Signature) -> None:
    """An id or an output more is another head."""
    for more, outputs, identifier in (
        ({}, ["probabilities", "label"], None),
        ({"id": "a"}, ["probabilities", "label"], "a"),
        ({"id": "b", "outputs": [{"name": "label"}]}, ["label"], "b"),
    ):
        asked = head(**more)
        _, wanted = parse_v2(asked + data(1), len(asked), signature)
        assert ([name for name, _ in wanted.outputs], wanted.id) == (outputs, identifier)
