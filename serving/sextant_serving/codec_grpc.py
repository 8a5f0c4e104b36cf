"""The Open Inference Protocol (v2) over gRPC: typed contents and raw contents, in and out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from sextant_serving.codec_v2 import Served, check_output, output_of, rows_of
from sextant_serving.errors import BadRequest
from sextant_serving.grpc_protocol import message
from sextant_serving.rows import Answer, Rows, Signature
from sextant_serving.tensors import (
    InputTensor,
    check_head,
    fill_from_binary,
    fill_from_numbers,
)

ModelInferResponse = message("ModelInferResponse")

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


def parse_grpc(request: Any, signature: Signature) -> tuple[Rows, list[str]]:
    """Return the rows of a ModelInferRequest and the outputs it asks for. Raises BadRequest."""
    names: list[str] = []
    for index, output in enumerate(request.outputs):
        names.append(check_output(output.name, signature.form.outputs, names, f"outputs[{index}].name"))
    return rows_of(_read_inputs(request), signature), names or list(signature.form.outputs)


def _read_inputs(request: Any) -> list[InputTensor]:
    raw = request.raw_input_contents
    if not request.inputs:
        raise BadRequest("inputs", "no tensors", "Send at least one")
    if raw and len(raw) != len(request.inputs):
        raise BadRequest("raw_input_contents", "another number than of inputs", "Send one entry an input, or none")
    tensors, names = [], set()
    for index, given in enumerate(request.inputs):
        where = f"inputs[{index}]"
        if given.name in names:
            raise BadRequest(f"{where}.name", "a name twice", "Send each input once")
        names.add(given.name)
        tensor = InputTensor(given.name, given.datatype, list(given.shape))
        check_head(tensor.datatype, tensor.shape, where)
        if not raw:
            _fill_from_contents(tensor, given.contents, f"{where}.contents")
        elif given.HasField("contents"):
            raise BadRequest(f"{where}.contents", "contents beside raw_input_contents", "Send one of them")
        else:
            fill_from_binary(tensor, memoryview(raw[index]), where)
        tensors.append(tensor)
    return tensors


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
) -> Any:
    """Return the ModelInferResponse: `raw` contents for a request that came raw, typed ones for another."""
    response = ModelInferResponse(model_name=served.name, model_version=served.version, id=request_id or prediction_id)
    response.parameters["prediction_id"].string_param = prediction_id
    for name in names:
        tensor = output_of(name, answer, served.form, ids)
        output = response.outputs.add(name=name, datatype=tensor.datatype, shape=tensor.shape)
        if raw:
            response.raw_output_contents.append(tensor.raw())
            continue
        plain = tensor.plain()
        elements = [text.encode() for text in plain] if tensor.datatype == "BYTES" else plain
        getattr(output.contents, CONTENTS[tensor.datatype]).extend(elements)
    return response
