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
LENGTH_BYTES = 4  # each element of a binary BYTES tensor follows its length, little-endian


@dataclass(slots=True)
class InputTensor:
    """One input: `array` of `shape` for numbers, or `elements`, flat and in row order, for BYTES.

    An element is bytes if it came as binary data and text if it came as JSON.
    """

    name: str
    datatype: str
    shape: list[int]
    array: NDArray[Any] | None = None
    elements: list[bytes | str] | None = None


def read_tensors(inputs: object, binary: memoryview) -> list[InputTensor]:
    """Return the tensors of a request's `inputs`, whose binary data lie in `binary` one after the other.

    Numbers are views of the request's body. Raises BadRequest.
    """
    if not isinstance(inputs, list) or not inputs:
        raise BadRequest("inputs", "not a list of tensors", "Send at least one")
    tensors, offset, names = [], 0, set()
    for index, given in enumerate(inputs):
        where = f"inputs[{index}]"
        tensor, size = _read_description(given, where)
        if tensor.name in names:
            raise BadRequest(f"{where}.name", "a name twice", "Send each input once")
        names.add(tensor.name)
        if size is None:
            _fill_from_json(tensor, given.get("data"), where)
        else:
            if "data" in given:
                raise BadRequest(where, "data and binary_data_size", "Send one of them")
            if size > len(binary) - offset:
                raise BadRequest(f"{where}.parameters.binary_data_size", "more than the body holds", "Send all bytes")
            _fill_from_binary(tensor, binary[offset : offset + size], where)
            offset += size
        tensors.append(tensor)
    if offset != len(binary):
        raise BadRequest("body", "bytes that no input claims", "Sum the inputs' binary_data_size")
    return tensors


def _read_description(given: object, where: str) -> tuple[InputTensor, int | None]:
    if not isinstance(given, dict):
        raise BadRequest(where, "not an object", "Send name, datatype, shape and data")
    name, datatype, shape = given.get("name"), given.get("datatype"), given.get("shape")
    if not isinstance(name, str):
        raise BadRequest(f"{where}.name", "not text", "Name the input")
    if datatype != "BYTES" and (not isinstance(datatype, str) or datatype not in DTYPES):
        raise BadRequest(f"{where}.datatype", "unknown", f"Send one of {', '.join(DTYPES)} or BYTES")
    if not isinstance(shape, list) or not shape or any(type(size) is not int or size < 0 for size in shape):
        raise BadRequest(f"{where}.shape", "not a list of sizes", "Send whole numbers, rows first")
    parameters = given.get("parameters") or {}
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is not None and (type(size) is not int or size < 0):
        raise BadRequest(f"{where}.parameters.binary_data_size", "not a size", "Send a whole number of bytes")
    return InputTensor(name, datatype, shape), size


def _fill_from_json(tensor: InputTensor, data: object, where: str) -> None:
    count = math.prod(tensor.shape)
    if not isinstance(data, list):
        raise BadRequest(f"{where}.data", "not a list", "Send data, or binary_data_size with binary data")
    if tensor.datatype == "BYTES":
        flat = _flatten(data)
        if len(flat) != count or not all(isinstance(element, str) for element in flat):
            raise BadRequest(f"{where}.data", "not the texts that shape promises", "Send one text an element")
        tensor.elements = flat
        return
    try:
        array = np.asarray(data)
        if array.dtype.kind == "O":  # nulls
            array = np.asarray(data, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        raise BadRequest(f"{where}.data", "not numbers", "Send numbers in lists of equal length") from None
    if array.dtype.kind not in "fiub" or array.size != count:
        raise BadRequest(f"{where}.data", "not the numbers that shape promises", "Send one number an element")
    tensor.array = _cast(array, tensor.datatype, f"{where}.data").reshape(tensor.shape)


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


def _fill_from_binary(tensor: InputTensor, data: memoryview, where: str) -> None:
    count = math.prod(tensor.shape)
    if tensor.datatype == "BYTES":
        try:
            elements = split_elements(data)
        except ValueError:
            raise BadRequest(where, "an element longer than the data", "Write each length before it") from None
        if len(elements) != count:
            raise BadRequest(where, "another number of elements than shape promises", "Fix one of them")
        tensor.elements = list(elements)
        return
    dtype = DTYPES[tensor.datatype]
    if len(data) != count * dtype.itemsize:
        raise BadRequest(f"{where}.parameters.binary_data_size", "another size than shape and datatype make", "Fix one")
    tensor.array = np.frombuffer(data, dtype=dtype).reshape(tensor.shape)


@dataclass(slots=True)
class OutputTensor:
    """One output: numbers as an array, BYTES as a list of texts or bytes; `content_type` says base64 if it is."""

    name: str
    datatype: str
    values: NDArray[Any] | Sequence[str]
    content_type: str | None = None

    def describe(self, *, binary: bool) -> tuple[dict[str, Any], bytes]:
        """Return the JSON description and the binary data, which is empty unless `binary`."""
        values = self.values
        shape = list(values.shape) if isinstance(values, np.ndarray) else [len(values)]
        described: dict[str, Any] = {"name": self.name, "datatype": self.datatype, "shape": shape}
        parameters: dict[str, Any] = {"content_type": self.content_type} if self.content_type else {}
        data = b""
        if binary:
            data = values.tobytes() if isinstance(values, np.ndarray) else join_elements(values)
            parameters["binary_data_size"] = len(data)
        else:
            described["data"] = values.ravel().tolist() if isinstance(values, np.ndarray) else list(values)
        if parameters:
            described["parameters"] = parameters
        return described, data


def join_elements(elements: Sequence[str | bytes]) -> bytes:
    """Return BYTES elements as binary tensor data."""
    raw = [element.encode() if isinstance(element, str) else element for element in elements]
    return b"".join(len(element).to_bytes(LENGTH_BYTES, "little") + element for element in raw)


def split_elements(data: memoryview) -> list[bytes]:
    """Return the elements of binary BYTES data; raises ValueError if they do not end where it does."""
    elements, offset = [], 0
    while offset < len(data):
        start = offset + LENGTH_BYTES
        offset = start + int.from_bytes(data[start - LENGTH_BYTES : start], "little")
        if start > len(data) or offset > len(data):
            raise ValueError("an element is longer than the data")
        elements.append(bytes(data[start:offset]))
    return elements
