"""Talks to a server with tritonclient and prints what came of it, one JSON object.

A process of its own, because Triton's and KServe's clients register the same message names.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import ml_dtypes
import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

IMAGE = np.arange(64, dtype=np.uint8).reshape(1, 8, 8, 1)
TYPES = {
    "BOOL": np.bool_,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "FP16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "FP32": np.float32,
    "FP64": np.float64,
}


def infer(library: Any, client: Any, datatype: str, **how: bool) -> Any:
    """Ask with the weight 1 in a datatype; return the client's result."""
    image = library.InferInput("image", [1, 8, 8, 1], "UINT8")
    image.set_data_from_numpy(IMAGE, **how)
    weight = library.InferInput("weight", [1], datatype)
    weight.set_data_from_numpy(np.ones(1, TYPES[datatype]), **how)
    zone = library.InferInput("zone", [1], "BYTES")
    zone.set_data_from_numpy(np.array([b"south"], object), **how)
    outputs = [library.InferRequestedOutput(name, **how) for name in ("label", "probabilities", "abstained")]
    return client.infer("parcels", [image, weight, zone], outputs=outputs, request_id="mine")


def as_plain(result: Any) -> dict[str, Any]:
    """Return a result's outputs and id as JSON can hold them."""
    response = result.get_response()
    label = result.as_numpy("label")[0]
    return {
        "id": response["id"] if isinstance(response, dict) else response.id,
        "label": label.decode() if isinstance(label, bytes) else str(label),
        "abstained": bool(result.as_numpy("abstained")[0]),
        "probabilities": result.as_numpy("probabilities")[0].tolist(),
    }


def refusal(ask: Any) -> str:
    """Return the status of the error that `ask` must raise."""
    try:
        ask()
    except InferenceServerException as error:
        return str(error.status())
    return "none"


def stream(client: Any) -> list[str]:
    """Send two good requests and a bad one over one stream; return each answer's id, or error."""
    got: list[str] = []
    client.start_stream(lambda result, error: got.append("error" if error else result.get_response().id))
    for name in ("parcels", "other", "parcels"):
        image = tritonclient.grpc.InferInput("image", [1, 8, 8, 1], "UINT8")
        image.set_data_from_numpy(IMAGE)
        client.async_stream_infer(name, [image], request_id=name)
    client.stop_stream()
    return got


def main(url: str, address: str, token: str) -> None:
    """Run the dialogue."""
    headers = {"authorization": f"Bearer {token}"}
    http = tritonclient.http.InferenceServerClient(url.removeprefix("http://"))
    rpc = tritonclient.grpc.InferenceServerClient(address)
    found: dict[str, Any] = {"json": {}, "binary": {}, "grpc": {}}
    for datatype in TYPES:
        if datatype not in ("FP16", "BF16"):  # the client itself refuses these in JSON
            found["json"][datatype] = as_plain(infer(tritonclient.http, http, datatype, binary_data=False))
        found["binary"][datatype] = as_plain(infer(tritonclient.http, http, datatype, binary_data=True))
        found["grpc"][datatype] = as_plain(infer(tritonclient.grpc, rpc, datatype))
    for name, client in (("http", http), ("rpc", rpc)):
        found[name] = [client.is_server_live(), client.is_server_ready(), client.is_model_ready("parcels", "3")]
        client.load_model("parcels", headers=headers)
        client.unload_model("parcels", headers=headers)
        found[name].append(client.is_server_ready())
        client.load_model("parcels", headers=headers)
        found[name].append(client.is_server_ready())
    found["metadata"] = [http.get_model_metadata("parcels")["name"], rpc.get_model_metadata("parcels").name]
    found["index"] = [
        http.get_model_repository_index(headers=headers)[0]["state"],
        rpc.get_model_repository_index(headers=headers).models[0].state,
    ]
    found["refusals"] = [
        refusal(lambda: http.load_model("parcels")),
        refusal(lambda: rpc.load_model("parcels")),
        refusal(lambda: rpc.load_model("other", headers=headers)),
        refusal(lambda: rpc.get_model_metadata("other")),
    ]
    found["stream"] = stream(rpc)
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
