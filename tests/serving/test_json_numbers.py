"""Numbers out of JSON: the same as NumPy's, and nothing but numbers."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sextant_serving.codec_v1 import parse_numbers
from sextant_serving.errors import BadRequest
from sextant_serving.json_numbers import flat_bytes, flat_numbers, nested_numbers
from sextant_serving.tensors import read_heads, read_tensors

NUMBER = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.booleans()


@given(values=st.lists(NUMBER))
def test_flat_numbers_are_their_nearest_fp64(values: list[Any]) -> None:
    """Each is what Python makes of it."""
    found = flat_numbers(values)
    assert found is not None
    assert found.tolist() == [float(value) for value in values]


@given(values=st.lists(st.integers(-1, 256) | st.booleans() | st.floats() | st.none()))
def test_flat_bytes_are_whole_numbers_of_one_byte(values: list[Any]) -> None:
    """Anything else is left to those who tell why not."""
    found = flat_bytes(values)
    if all(isinstance(value, int) and 0 <= value <= 255 for value in values):
        assert found is not None
        assert found.tolist() == values
    else:
        assert found is None


@given(shape=st.lists(st.integers(1, 3), min_size=1, max_size=4), data=st.data())
def test_nested_numbers_keep_their_shape_and_nulls_are_nan(shape: list[int], data: st.DataObject) -> None:
    """Lists of equal length at any depth become an array of that shape."""
    flat = data.draw(st.lists(NUMBER | st.none(), min_size=math.prod(shape), max_size=math.prod(shape)))
    nested: Any = np.array(flat, dtype=object).reshape(shape).tolist()
    expected = [math.nan if value is None else float(value) for value in flat]
    found = nested_numbers(nested)
    assert found.shape == tuple(shape)
    np.testing.assert_array_equal(found.astype(np.float64).ravel(), np.array(expected))


@pytest.mark.parametrize(
    "nested",
    [["1"], [1, "a"], [[1], ["a"]], [1, [2]], [[1], 2], [{}], [[1, 2], [3]], [[[1]], [2]], [1, "a" * 1000] * 3],
)
def test_what_are_not_numbers_in_equal_lists_is_refused(nested: Any) -> None:
    """Text, objects and lists of different lengths are the client's fault over v1 and v2."""
    with pytest.raises(BadRequest, match="not numbers"):
        parse_numbers(nested, "instances")
    given = [{"name": "x", "datatype": "FP32", "shape": [len(nested)], "data": nested}]
    with pytest.raises(BadRequest, match=r"not (the )?numbers"):
        read_tensors(read_heads(given), memoryview(b""))


@pytest.mark.parametrize("datatype", ["FP32", "INT64", "UINT8"])
def test_a_long_text_among_numbers_takes_no_memory(datatype: str) -> None:
    """NumPy would make every number a text as long as the longest: 40 GB of half a megabyte."""
    data: list[Any] = ["a" * 100_000, *[1] * 100_000]
    given = [{"name": "x", "datatype": datatype, "shape": [len(data)], "data": data}]
    tracemalloc.start()
    try:
        with pytest.raises(BadRequest):
            read_tensors(read_heads(given), memoryview(b""))
        with pytest.raises(BadRequest):
            parse_numbers(data, "instances")
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
