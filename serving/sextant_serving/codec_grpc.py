"""The Open Inference Protocol (v2) over gRPC: typed contents and raw contents, in and out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from sextant_serving.codec_v2 import HEAD_BYTES_KEPT, HEADS_KEPT, Served, check_output, output_of, rows_of
from sextant_serving.errors import BadRequest
from sextant_serving.grpc_protocol import message
from sextant_serving.grpc_wire import split
from sextant_serving.rows import Answer, Rows, Signature
from sextant_serving.tensors import (
    InputTensor,
    check_head,
    fill_from_binary,
    fill_from_numbers,
    objects_in,
)

ModelInferRequest, ModelInferResponse = message("ModelInferRequest"), message("ModelInferResponse")
NO_CONTENTS = message("InferTensorContents")()

CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
CONTENT_DTYPES = {
    "bool_contents": np.bool_,
    "int_contents": np.int32,
    "int64_contents": np.int64,
    "uint_contents": np.uint32,
    "uint64_contents": np.uint64,
    "fp32_contents": np.float32,
    "fp64_contents": np.float64,
}


class Head:
    """What a ModelInferRequest says beside its id and its raw contents; many requests may share it."""

    def __init__(self, request: Any) -> None:
        self.model, self.version = request.model_name, request.model_version
        self._inputs, self._outputs = list(request.inputs), [output.name for output in request.outputs]

    @cached_property
    def inputs(self) -> list[tuple[str, str, list[int], Any]]:
        """Return name, datatype, shape and typed contents, None if it has none, of each input. Raises BadRequest."""
        found: dict[str, tuple[str, str, list[int], Any]] = {}
        for index, given in enumerate(self._inputs):
            where = f"inputs[{index}]"
            if given.name in found:
                raise BadRequest(f"{where}.name", "a name twice", "Send each input once")
            check_head(given.datatype, given.shape, where)
            contents = given.contents if given.HasField("contents") else None
            found[given.name] = given.name, given.datatype, list(given.shape), contents
        if not found:
            raise BadRequest("inputs", "no tensors", "Send at least one")
        return list(found.values())

    def outputs(self, known: tuple[str, ...]) -> list[str]:
        """Return the outputs that are asked for, of a model that has these. Raises BadRequest."""
        names: list[str] = []
        for index, name in enumerate(self._outputs):
            names.append(check_output(name, known, names, f"outputs[{index}].name"))
        return names or list(known)


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A ModelInferRequest of `size` bytes; `raw` holds the raw contents of each input, nothing where they are typed."""

    head: Head
    identifier: str
    raw: Sequence[memoryview]
    size: int

    @classmethod
    def read(cls, sent: bytes) -> InferRequest:
        """Return the request that a client sent. Raises BadRequest."""
        parts = split(sent)
        if parts is None or len(parts.head) > HEAD_BYTES_KEPT:
            request = read_message(ModelInferRequest, sent)
            raw = [memoryview(each) for each in request.raw_input_contents]
            return cls(Head(request), request.id, raw, len(sent))
        try:
            return cls(_kept_head(parts.head), parts.identifier.decode(), parts.raw, len(sent))
        except UnicodeDecodeError:
            raise BadRequest("id", "not UTF-8", "Send text or leave it out") from None

    def rows(self, signature: Signature) -> Rows:
        """Return the rows of the request. Raises BadRequest."""
        inputs = self.head.inputs
        if self.raw and len(self.raw) != len(inputs):
            raise BadRequest("raw_input_contents", "another number than of inputs", "Send one entry an input, or none")
        for _, datatype, shape, _ in inputs:
            signature.check_rows(objects_in(datatype, shape))
        tensors = []
        for index, (name, datatype, shape, contents) in enumerate(inputs):
            where = f"inputs[{index}]"
            tensor = InputTensor(name, datatype, shape)
            if not self.raw:
                _fill_from_contents(tensor, contents or NO_CONTENTS, f"{where}.contents")
            elif contents is not None:
                raise BadRequest(f"{where}.contents", "contents beside raw_input_contents", "Send one of them")
            else:
                fill_from_binary(tensor, self.raw[index], where)
            tensors.append(tensor)
        return rows_of(tensors, signature)


@lru_cache(maxsize=HEADS_KEPT)
def _kept_head(head: bytes) -> Head:
    return Head(read_message(ModelInferRequest, head))


def read_message(kind: Any, sent: bytes) -> Any:
    """Return the message of a class that a client sent; raises BadRequest, where gRPC would blame the server."""
    try:
        return kind.FromString(sent)
    except DecodeError:
        name = kind.DESCRIPTOR.name
        raise BadRequest("message", f"not a {name}", "Send it as inference.proto has it") from None


def _fill_from_contents(tensor: InputTensor, contents: Any, where: str) -> None:
    if tensor.datatype not in CONTENTS:
        raise BadRequest(where, f"{tensor.datatype} has no typed contents", "Send it in raw_input_contents")
    field = CONTENTS[tensor.datatype]
    values = getattr(contents, field)
    if tensor.datatype == "BYTES":
        if len(values) != math.prod(tensor.shape):
            raise BadRequest(f"{where}.{field}", "not the elements that shape promises", "Send one an element")
        tensor.elements = list(values)
    else:
        fill_from_numbers(tensor, np.fromiter(values, CONTENT_DTYPES[field], len(values)), f"{where}.{field}")


def render_grpc(
    answer: Answer,
    names: Sequence[str],
    served: Served,
    ids: Sequence[str],
    *,
    prediction_id: str,
    request_id: str,
    raw: bool,
) -> bytes:
    """Return a serialized ModelInferResponse: `raw` contents for a request that came raw, typed ones for another."""
    tensors = [output_of(name, answer, served.form, ids) for name in names]
    response = ModelInferResponse(id=request_id or prediction_id)
    response.parameters["prediction_id"].string_param = prediction_id
    if raw:
        response.raw_output_contents.extend([tensor.raw() for tensor in tensors])
        described = tuple((tensor.name, tensor.datatype, *tensor.shape) for tensor in tensors)
        # Serialized messages, one after the other, are their merge.
        return _kept_description(served.name, served.version, described) + bytes(response.SerializeToString())
    response.model_name, response.model_version = served.name, served.version
    for tensor in tensors:
        output = response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        plain = tensor.plain()
        elements = [text.encode() for text in plain] if tensor.datatype == "BYTES" else plain
        getattr(output.contents, CONTENTS[tensor.datatype]).extend(elements)
    return bytes(response.SerializeToString())


@lru_cache(maxsize=HEADS_KEPT)
def _kept_description(model: str, version: str, described: tuple[tuple[Any, ...], ...]) -> bytes:
    response = ModelInferResponse(model_name=model, model_version=version)
    for name, datatype, *shape in described:
        response.outputs.add(name=name, datatype=datatype, shape=shape)
    return bytes(response.SerializeToString())
