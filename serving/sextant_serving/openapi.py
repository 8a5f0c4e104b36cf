"""The OpenAPI 3.1 document of the HTTP port, for the model that is served."""

from __future__ import annotations

from typing import Any, get_args

from sextant_plan import __version__
from sextant_plan.feedback import RATED, Feedback, Outcome
from sextant_serving.codec_v2 import ON_REQUEST
from sextant_serving.rows import Signature
from sextant_serving.tensors import MAX_DIMENSIONS, RAW_DTYPES

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
COMMON_FAULTS = (400, 401, 404, 405, 408, 413, 431, 500)
INFERENCE_FAULTS = (*COMMON_FAULTS, 415, 422, 429, 503, 504)
DATATYPES = [*RAW_DTYPES, "BYTES"]


def describe_api(name: str, version: str, signature: Signature) -> Schema:
    """Return the document: every path, what it takes and what it answers."""
    model, of_version = f"/v2/models/{name}", f"/v2/models/{name}/versions/{version}"
    ready = _get("Whether the model takes requests", _object(name=TEXT, ready={"type": "boolean"}), 503)
    metadata = _get("Name, versions, inputs and outputs", _ref("ModelMetadata"))
    infer = _infer(signature)
    paths = {
        "/": _get("Whether the process runs, as KServe's v1 asks", _object(status={"const": "alive"})),
        "/v2/health/live": _get("Whether the process runs", _object(live={"type": "boolean"})),
        "/v2/health/ready": _get("Whether requests are taken", _object(ready={"type": "boolean"}), 503),
        "/v2": _get("Name, version and extensions", _ref("ServerMetadata")),
        "/v1/models": _get("The served model's name", _object(models={"type": "array", "items": TEXT})),
        f"/v1/models/{name}": ready,
        f"/v1/models/{name}:predict": _predict(signature),
        model: metadata,
        of_version: metadata,
        f"{model}/ready": ready,
        f"{of_version}/ready": ready,
        f"{model}/infer": infer,
        f"{of_version}/infer": infer,
        "/feedback": _feedback(),
        "/v2/repository/index": _manage({"type": "array", "items": _ref("ModelIndex")}),
        f"/v2/repository/models/{name}/load": _manage(_object(name=TEXT, load={"const": True})),
        f"/v2/repository/models/{name}/unload": _manage(_object(name=TEXT, unload={"const": True})),
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": f"Sextant serving {name}", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": _schemas(signature),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def _answers(schema: Schema, faults: tuple[int, ...]) -> Schema:
    answers: Schema = {"200": {"description": "The answer", "content": _json(schema)}}
    for status in faults:
        answers[str(status)] = {"description": "Refused, and why", "content": _json(_ref("Error"))}
    return answers


def _get(summary: str, schema: Schema, *same: int) -> Schema:
    """Return a path that is read; an answer of a code in `same` has the same body as 200."""
    answers = _answers(schema, (*COMMON_FAULTS, 503))
    for status in same:
        answers[str(status)] = {"description": "Not now", "content": _json({"anyOf": [schema, _ref("Error")]})}
    return {"get": {"summary": summary, "responses": answers}}


def _predict(signature: Signature) -> Schema:
    request = _object(instances={"type": "array", "minItems": 1, "items": _ref("Instance")})
    content = {**_json(request), **_pictures(signature)}
    answer = _object(predictions={"type": "array", "items": _ref("Prediction")})
    return _post("Predict by KServe's v1 protocol", content, answer, INFERENCE_FAULTS)


def _infer(signature: Signature) -> Schema:
    content = {**_json(_ref("InferRequest")), **_pictures(signature)}
    path = _post("Infer by the Open Inference Protocol", content, _ref("InferResponse"), INFERENCE_FAULTS)
    # JSON of the length in Inference-Header-Content-Length, then the binary tensors.
    path["post"]["responses"]["200"]["content"]["application/octet-stream"] = {"schema": {}}
    return path


def _pictures(signature: Signature) -> Schema:
    return {kind: {"schema": {}} for kind in ("image/jpeg", "image/png")} if signature.image else {}


def _feedback() -> Schema:
    outcomes = {"enum": [*get_args(Outcome), RATED]}
    schema = Feedback.model_json_schema()
    answer = _object(prediction_id=TEXT, outcome=outcomes)
    return _post("Tell what the truth of a prediction was", _json(schema), answer, (*COMMON_FAULTS, 503))


def _manage(answer: Schema) -> Schema:
    content = _json({"type": "object"})
    path = _post("Manage the model; needs the administrator's token", content, answer, (*COMMON_FAULTS, 403, 409, 503))
    path["post"]["security"] = [{"token": []}]
    path["post"]["requestBody"]["required"] = False
    return path


def _post(summary: str, content: Schema, answer: Schema, faults: tuple[int, ...]) -> Schema:
    body = {"required": True, "content": content}
    return {"post": {"summary": summary, "requestBody": body, "responses": _answers(answer, faults)}}


def _schemas(signature: Signature) -> Schema:
    shape = {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1, "maxItems": MAX_DIMENSIONS}
    parameters = {"type": "object"}
    tensor = _object(name=TEXT, datatype={"enum": DATATYPES}, shape=shape)
    described = _object(name=TEXT, datatype=TEXT, shape={"type": "array", "items": {"type": "integer"}})
    tensor["properties"] |= {"parameters": parameters, "data": {"type": "array"}}
    sent = _object(
        name={"enum": sorted(signature.fields | ({"features"} if signature.columns else set()))},
        datatype={"enum": DATATYPES},
        shape=shape,
    )
    sent["properties"] |= {"parameters": parameters, "data": {"type": "array"}}
    wanted = _object(name={"enum": [*signature.form.outputs, *ON_REQUEST]})
    wanted["properties"]["parameters"] = parameters
    request = _object(inputs={"type": "array", "minItems": 1, "items": sent})
    request["properties"] |= {"id": TEXT, "parameters": parameters, "outputs": {"type": "array", "items": wanted}}
    described_all = {"type": "array", "items": described}
    nullable_text = {"type": ["string", "null"]}
    return {
        "Error": _object(error=TEXT),
        "ServerMetadata": _object(name=TEXT, version=TEXT, extensions={"type": "array", "items": TEXT}),
        "ModelMetadata": _object(
            name=TEXT,
            versions={"type": "array", "items": TEXT},
            platform=TEXT,
            inputs=described_all,
            outputs=described_all,
        ),
        "ModelIndex": _object(name=TEXT, version=TEXT, state={"enum": ["READY", "UNAVAILABLE"]}, reason=TEXT),
        "Instance": {"type": ["object", "array"], "propertyNames": {"enum": sorted(signature.fields)}},
        "Prediction": _object(
            **signature.form.schema(),
            abstained={"type": "boolean"},
            fallback=nullable_text,
            prediction_id=TEXT,
        ),
        "InferRequest": request,
        "InferResponse": _object(
            model_name=TEXT, model_version=TEXT, id=TEXT, outputs={"type": "array", "items": tensor}
        ),
    }
