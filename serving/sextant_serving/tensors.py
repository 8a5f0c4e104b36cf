"""Tensors of the Open Inference Protocol v2: JSON data and the binary tensor data extension.

Source: Open Inference Protocol, "REST API" and "Binary Tensor Data Extension"
(github.com/kserve/open-inference-protocol).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sextant_serving.errors import BadRequest
from sextant_serving.json_numbers import flat_bytes, flat_numbers, nested_numbers

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
BF16 = "BF16"  # no NumPy type: read as FP32, of which it is the upper half
RAW_DTYPES = {**DTYPES, BF16: np.dtype("<u2")}
MAX_DIMENSIONS = 32
LENGTH_BYTES = 4  # each element of a binary BYTES tensor follows its length, little-endian


@dataclass(slots=True)
class InputTensor:
    """One input: `array` of `shape` for numbers (FP32 for BF16), or `elements`, flat in row order, for BYTES.

    An element is bytes if it came as binary data and text if it came as JSON.
    """

    name: str
    datatype: str
    shape: list[int]
    array: NDArray[Any] | None = None
    elements: list[bytes | str] | None = None


@dataclass(frozen=True, slots=True)
class TensorHead:
    """What a request's JSON says of one input: `data` if it is there, or `binary_size` bytes after the JSON."""

    name: str
    datatype: str
    shape: list[int]
    binary_size: int | None
    data: object


def read_heads(inputs: object) -> list[TensorHead]:
    """Return what a request's `inputs` say; raises BadRequest."""
    if not isinstance(inputs, list) or not inputs:
        raise BadRequest("inputs", "not a list of tensors", "Send at least one")
    heads: list[TensorHead] = []
    names: set[str] = set()
    for index, given in enumerate(inputs):
        where = f"inputs[{index}]"
        head = _read_head(given, where)
        if head.name in names:
            raise BadRequest(f"{where}.name", "a name twice", "Send each input once")
        names.add(head.name)
        if head.binary_size is not None and "data" in given:
            raise BadRequest(where, "data and binary_data_size", "Send one of them")
        heads.append(head)
    return heads


def read_tensors(heads: Sequence[TensorHead], binary: memoryview) -> list[InputTensor]:
    """Return the tensors, whose binary data lie in `binary` one after the other.

    Numbers are views of the request's body. Raises BadRequest.
    """
    tensors, offset = [], 0
    for index, head in enumerate(heads):
        where = f"inputs[{index}]"
        tensor = InputTensor(head.name, head.datatype, head.shape)
        if head.binary_size is None:
            _fill_from_json(tensor, head.data, where)
        else:
            if head.binary_size > len(binary) - offset:
                raise BadRequest(f"{where}.parameters.binary_data_size", "more than the body holds", "Send all bytes")
            fill_from_binary(tensor, binary[offset : offset + head.binary_size], where)
            offset += head.binary_size
        tensors.append(tensor)
    if offset != len(binary):
        raise BadRequest("body", "bytes that no input claims", "Sum the inputs' binary_data_size")
    return tensors


def _read_head(given: object, where: str) -> TensorHead:
    if not isinstance(given, dict):
        raise BadRequest(where, "not an object", "Send name, datatype, shape and data")
    name, datatype, shape = given.get("name"), given.get("datatype"), given.get("shape")
    if not isinstance(name, str):
        raise BadRequest(f"{where}.name", "not text", "Name the input")
    if not isinstance(datatype, str):
        raise BadRequest(f"{where}.datatype", "not text", "Name the datatype")
    if not isinstance(shape, list) or any(type(size) is not int for size in shape):
        raise BadRequest(f"{where}.shape", "not a list of sizes", "Send whole numbers, rows first")
    check_head(datatype, shape, where)
    parameters = given.get("parameters") or {}
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is not None and (type(size) is not int or size < 0):
        raise BadRequest(f"{where}.parameters.binary_data_size", "not a size", "Send a whole number of bytes")
    return TensorHead(name, datatype, shape, size, given.get("data"))


def check_head(datatype: str, shape: Sequence[int], where: str) -> None:
    """Raise BadRequest for a datatype or a shape that cannot be."""
    if datatype != "BYTES" and datatype not in RAW_DTYPES:
        raise BadRequest(f"{where}.datatype", "unknown", f"Send one of {', '.join(RAW_DTYPES)} or BYTES")
    # A size of 0 is refused because it would leave the others unbounded.
    if not shape or len(shape) > MAX_DIMENSIONS or min(shape) < 1:
        raise BadRequest(f"{where}.shape", "not sizes", f"Send 1 to {MAX_DIMENSIONS} sizes from 1 on, rows first")


def objects_in(datatype: str, shape: Sequence[int]) -> int:
    """Return how many Python objects a tensor becomes at least: one a row, and of BYTES one an element."""
    return math.prod(shape) if datatype == "BYTES" else shape[0]


def fill_from_numbers(tensor: InputTensor, array: NDArray[Any], where: str) -> None:
    """Take the elements from `array` in row order, in the tensor's own type; raises BadRequest."""
    if array.dtype.kind not in "fiub" or array.size != math.prod(tensor.shape):
        raise BadRequest(where, "not the numbers that shape promises", "Send one number an element")
    tensor.array = _cast(array, tensor.datatype, where).reshape(tensor.shape)


def _fill_from_json(tensor: InputTensor, data: object, where: str) -> None:
    if not isinstance(data, list):
        raise BadRequest(f"{where}.data", "not a list", "Send data, or binary_data_size with binary data")
    if tensor.datatype == BF16:
        raise BadRequest(f"{where}.datatype", "BF16 in JSON", "Send it as binary data, or send FP32")
    if tensor.datatype == "BYTES":
        flat = _flatten(data)
        if len(flat) != math.prod(tensor.shape) or not all(isinstance(element, str) for element in flat):
            raise BadRequest(f"{where}.data", "not the texts that shape promises", "Send one text an element")
        tensor.elements = flat
        return
    try:
        array = _numbers(data, tensor.datatype)
    except (ValueError, TypeError, OverflowError):
        raise BadRequest(f"{where}.data", "not numbers", "Send numbers in lists of equal length") from None
    fill_from_numbers(tensor, array, f"{where}.data")


def _numbers(data: list[Any], datatype: str) -> NDArray[Any]:
    """Return JSON's numbers, those of 64 bits exactly. Raises ValueError and OverflowError."""
    if datatype == "UINT8" and (pixels := flat_bytes(data)) is not None:
        return pixels
    is_wide = datatype in ("INT64", "UINT64")
    if not is_wide and (flat := flat_numbers(data)) is not None:
        return flat
    array = nested_numbers(data)
    return _exact(data, array) if is_wide and array.dtype.kind == "f" else array


def _exact(data: list[Any], array: NDArray[Any]) -> NDArray[Any]:
    """Return `array` in UINT64 if `data` are whole: NumPy makes FP64 of integers on both sides of 2**63."""
    flat = np.asarray(data, dtype=object).ravel().tolist()
    return np.array(flat, dtype=np.uint64) if all(type(number) is int for number in flat) else array


def _cast(array: NDArray[Any], datatype: str, where: str) -> NDArray[Any]:
    """Cast to the declared type; an integer type takes only whole numbers in its range."""
    dtype = DTYPES[datatype]
    with np.errstate(all="ignore"):
        cast = array.astype(dtype)
    if dtype.kind != "f" and not np.array_equal(cast, array):
        raise BadRequest(where, f"numbers that {datatype} cannot hold", "Send whole numbers in its range")
    return cast


def _flatten(data: list[Any]) -> list[Any]:
    while data and all(isinstance(part, list) for part in data):
        data = [element for part in data for element in part]
    return data


def fill_from_binary(tensor: InputTensor, data: memoryview, where: str) -> None:
    """Take the elements from their binary layout, numbers as a view of `data`; raises BadRequest."""
    count = math.prod(tensor.shape)
    if tensor.datatype == "BYTES":
        try:
            elements = split_elements(data, count)
        except ValueError:
            raise BadRequest(where, "an element longer than the data", "Write each length before it") from None
        if len(elements) != count:
            raise BadRequest(where, "another number of elements than shape promises", "Fix one of them")
        tensor.elements = list(elements)
        return
    dtype = RAW_DTYPES[tensor.datatype]
    if len(data) != count * dtype.itemsize:
        raise BadRequest(f"{where}.parameters.binary_data_size", "another size than shape and datatype make", "Fix one")
    array = np.frombuffer(data, dtype=dtype)
    if tensor.datatype == BF16:
        array = (array.astype("<u4") << 16).view("<f4")
    tensor.array = array.reshape(tensor.shape)


@dataclass(slots=True)
class OutputTensor:
    """One output: numbers as an array, BYTES as a list of texts or bytes; `content_type` says base64 if it is."""

    name: str
    datatype: str
    values: NDArray[Any] | Sequence[str]
    content_type: str | None = None

    @property
    def shape(self) -> list[int]:
        """The tensor's sizes."""
        return list(self.values.shape) if isinstance(self.values, np.ndarray) else [len(self.values)]

    def raw(self) -> bytes:
        """Return the elements in their binary layout."""
        return self.values.tobytes() if isinstance(self.values, np.ndarray) else join_elements(self.values)

    def plain(self) -> list[Any]:
        """Return the elements as Python values, flat and in row order."""
        return list(self.values.ravel().tolist() if isinstance(self.values, np.ndarray) else self.values)

    def describe(self, *, binary: bool) -> tuple[dict[str, Any], bytes]:
        """Return the JSON description and the binary data, which is empty unless `binary`."""
        described: dict[str, Any] = {"name": self.name, "datatype": self.datatype, "shape": self.shape}
        parameters: dict[str, Any] = {"content_type": self.content_type} if self.content_type else {}
        data = b""
        if binary:
            data = self.raw()
            parameters["binary_data_size"] = len(data)
        else:
            described["data"] = self.plain()
        if parameters:
            described["parameters"] = parameters
        return described, data


def join_elements(elements: Sequence[str | bytes]) -> bytes:
    """Return BYTES elements as binary tensor data."""
    raw = [element.encode() if isinstance(element, str) else element for element in elements]
    return b"".join(len(element).to_bytes(LENGTH_BYTES, "little") + element for element in raw)


def split_elements(data: memoryview, most: int) -> list[bytes]:
    """Return the elements of binary BYTES data, of more than `most` only one more.

    Raises ValueError if they do not end where it does.
    """
    elements: list[bytes] = []
    offset = 0
    while offset < len(data) and len(elements) <= most:
        start = offset + LENGTH_BYTES
        offset = start + int.from_bytes(data[start - LENGTH_BYTES : start], "little")
        if start > len(data) or offset > len(data):
            raise ValueError("an element is longer than the data")
        elements.append(bytes(data[start:offset]))
    return elements
