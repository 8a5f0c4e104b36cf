"""Tensors of a request: what each datatype holds, and what no tensor can be."""

from __future__ import annotations

import time
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from sextant_serving.errors import BadRequest
from sextant_serving.tensors import DTYPES, join_elements, read_heads, read_tensors, split_elements


def described(datatype: str, shape: list[int], **more: Any) -> list[dict[str, Any]]:
    """Return the inputs of a request with one tensor."""
    return [{"name": "x", "datatype": datatype, "shape": shape, **more}]


def in_binary(datatype: str, data: bytes, count: int) -> Any:
    """Return the array that binary data make."""
    given = described(datatype, [count], parameters={"binary_data_size": len(data)})
    return read_tensors(read_heads(given), memoryview(data))[0].array


@pytest.mark.parametrize("datatype", sorted(set(DTYPES) - {"BOOL"}))
def test_the_limits_of_a_datatype_arrive_exactly(datatype: str) -> None:
    """Smallest and largest value come through JSON and binary as they were, UINT64 beyond 2**63 beside 1 too."""
    dtype = DTYPES[datatype]
    limits: Any = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    values = np.array([limits.min, 1, limits.max], dtype)
    from_json = read_tensors(read_heads(described(datatype, [3], data=values.tolist())), memoryview(b""))[0].array
    assert from_json is not None
    for read in (from_json, in_binary(datatype, values.tobytes(), 3)):
        assert read.dtype == dtype
        np.testing.assert_array_equal(read, values)


def test_bf16_is_read_as_the_numbers_it_stands_for() -> None:
    """Binary BF16 becomes FP32 of the same value, infinities and nan included."""
    values = np.array([0.0, -1.5, 3e38, np.inf, np.nan], ml_dtypes.bfloat16)
    np.testing.assert_array_equal(in_binary("BF16", values.tobytes(), 5), values.astype(np.float32))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        pytest.param(described("BF16", [1], data=[1]), "BF16 in JSON", id="bf16-in-json"),
        pytest.param(described("UINT8", [0, 10**30], data=[]), "shape", id="zero-beside-endless"),
        pytest.param(described("UINT8", [1] * 65, data=[1]), "shape", id="too-many-dimensions"),
        pytest.param(described("UINT8", [], data=[1]), "shape", id="no-dimensions"),
        pytest.param(described("INT8", [1], data=[128]), "INT8 cannot hold", id="beyond-the-type"),
        pytest.param(described("UINT64", [2], data=[-1, 2**63]), "not numbers", id="no-unsigned"),
        pytest.param(described("FP8", [1], data=[1]), "datatype", id="unknown-type"),
    ],
)
def test_what_no_tensor_can_be_is_refused(given: Any, words: str) -> None:
    """Each is the client's fault, told by its field."""
    with pytest.raises(BadRequest, match=words):
        read_tensors(read_heads(given), memoryview(b""))


def seconds_for(names: int) -> float:
    """Return how long the heads of so many inputs take."""
    given = [{"name": str(index), "datatype": "FP32", "shape": [1], "data": [0]} for index in range(names)]
    begun = time.perf_counter()
    read_heads(given)
    return time.perf_counter() - begun


def test_many_inputs_take_time_by_their_number() -> None:
    """Eight times the inputs take about eight times as long; each name held against all others would take 64."""
    ratios = [seconds_for(8 * 2000) / seconds_for(2000) for _ in range(5)]
    assert min(ratios) < 24


def test_elements_are_split_up_to_one_more_than_are_promised() -> None:
    """A tensor of millions of empty elements where three are due is not made into objects."""
    raw = memoryview(join_elements(["a", "bc", "", "d"] * 1000))
    assert split_elements(raw, 3) == [b"a", b"bc", b"", b"d"]
    assert len(split_elements(raw, 5000)) == 4000
