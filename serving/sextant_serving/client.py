"""A small client for the server's REST protocols; numbers that are not finite are sent as missing."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import numpy as np
import orjson
from numpy.typing import NDArray

from sextant_plan.errors import InfrastructureError, UsageError
from sextant_serving.tensors import DTYPES, join_elements, split_elements

Tensor = NDArray[Any] | Sequence[str] | Sequence[bytes]
DATATYPES = {dtype: name for name, dtype in DTYPES.items()}


class Refused(InfrastructureError):
    """The server answered with an error; `status` is its HTTP code."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(f"the server answered {status}: {message}")


class Client:
    """One connection, kept open; not thread-safe. `model` is asked of the server unless given.

    After a prediction `prediction_id` is the answer's id; with several rows, row i is `<id>.<i>`.
    `token` is sent as a bearer token. Of an https URL the server's certificate is checked against `certificates`
    (PEM), the system's unless given. Raises UsageError for a URL that is not HTTP to a host.
    """

    def __init__(
        self,
        url: str,
        model: str | None = None,
        *,
        timeout: float = 30.0,
        token: str | None = None,
        certificates: Path | None = None,
    ) -> None:
        self.url = url
        self._connection = _connection(url, timeout, certificates)
        self._headers = {} if token is None else {"authorization": f"Bearer {token}"}
        self._model = model
        self.prediction_id: str | None = None

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    @property
    def model(self) -> str:
        """The served model's name."""
        if self._model is None:
            names = orjson.loads(self.request("GET", "/v1/models")[2])["models"]
            if not names:
                raise Refused(503, "no model is ready")
            self._model = names[0]
        return self._model

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Send one request as it is; return status, headers by lower-case name, and body."""
        try:
            return self._exchange(method, path, body, headers or {})
        except (http.client.RemoteDisconnected, BrokenPipeError):
            # A kept connection may be closed by the server at any time; a fresh one tells whether it is there.
            return self._exchange(method, path, body, headers or {})

    def _exchange(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str], bytes]:
        try:
            self._connection.request(method, path, body, {**self._headers, **headers})
            response = self._connection.getresponse()
            return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()  # so that the next request starts afresh and not behind half of this one
            raise

    def ready(self) -> bool:
        """Tell whether the server takes inference requests."""
        try:
            return self.request("GET", "/v2/health/ready")[0] == 200
        except OSError:
            return False

    def predict_v1(self, instances: Sequence[Any], *, attachments: bool = False) -> list[dict[str, Any]]:
        """Return the v1 predictions of `instances`; raises Refused."""
        path = f"/v1/models/{quote(self.model)}:predict" + ("?attachments=true" if attachments else "")
        body = orjson.dumps({"instances": instances})
        _, answer = self._post(path, body, {"content-type": "application/json"})
        predictions: list[dict[str, Any]] = orjson.loads(answer)["predictions"]
        return predictions

    def infer_json(self, inputs: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the outputs by name of a v2 request in JSON; raises Refused. BYTES come as a list of texts."""
        described = [_describe(name, tensor)[0] for name, tensor in inputs.items()]
        return self._infer(orjson.dumps({"inputs": described}), {"content-type": "application/json"})

    def infer_binary(self, inputs: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the outputs by name of a v2 request with binary tensors both ways; raises Refused."""
        described, parts = [], []
        for name, tensor in inputs.items():
            description, data = _describe(name, tensor, binary=True)
            described.append(description)
            parts.append(data)
        head = orjson.dumps({"inputs": described, "parameters": {"binary_data_output": True}})
        headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
        return self._infer(b"".join([head, *parts]), headers)

    def infer_picture(
        self, picture: bytes, params: Mapping[str, object] | None = None, *, attachments: bool = False
    ) -> dict[str, Any]:
        """Return the v2 outputs by name for one JPEG or PNG; `params` are the row's columns and key.

        Attachments are further outputs, each a list of one base64 text. Raises Refused.
        """
        query = {name: value for name, value in (params or {}).items() if value is not None}
        if attachments:
            query["attachments"] = "true"
        kind = "image/png" if picture.startswith(b"\x89PNG") else "image/jpeg"
        return self._infer(picture, {"content-type": kind}, query)

    def send_feedback(self, prediction_id: str, label: str) -> str:
        """Send the true label of a prediction; return how it met it."""
        body = orjson.dumps({"prediction_id": prediction_id, "label": label})
        _, answer = self._post("/feedback", body, {"content-type": "application/json"})
        outcome: str = orjson.loads(answer)["outcome"]
        return outcome

    def send_rating(self, prediction_id: str, stars: int) -> None:
        """Send what a user thinks of a prediction, from 1 to 5; raises Refused."""
        body = orjson.dumps({"prediction_id": prediction_id, "rating": stars})
        self._post("/feedback", body, {"content-type": "application/json"})

    def input_names(self) -> list[str]:
        """Return the names of what the model reads with a request, `image` included; raises Refused."""
        status, _, answer = self.request("GET", f"/v2/models/{quote(self.model)}")
        described = orjson.loads(answer)
        if status != 200:
            raise Refused(status, described.get("error", ""))
        return [tensor["name"] for tensor in described["inputs"]]

    def metrics_text(self) -> str:
        """Return the Prometheus page."""
        return self.request("GET", "/metrics")[2].decode()

    def _infer(self, body: bytes, headers: dict[str, str], query: Mapping[str, object] | None = None) -> dict[str, Any]:
        path = f"/v2/models/{quote(self.model)}/infer" + (f"?{urlencode(query)}" if query else "")
        received, answer = self._post(path, body, headers)
        length = received.get("inference-header-content-length")
        split = len(answer) if length is None else int(length)
        return _read_outputs(orjson.loads(answer[:split])["outputs"], memoryview(answer)[split:])

    def _post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[Mapping[str, str], bytes]:
        status, received, answer = self.request("POST", path, body, headers)
        if status != 200:
            raise Refused(status, orjson.loads(answer).get("error", ""))
        self.prediction_id = received.get("x-prediction-id", self.prediction_id)
        return received, answer


def _connection(url: str, timeout: float, certificates: Path | None) -> http.client.HTTPConnection:
    # Without a scheme, urlsplit takes the host for one.
    try:
        parts = urlsplit(url)
        if parts.scheme == "http" and parts.hostname:
            return http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
        if parts.scheme == "https" and parts.hostname:
            context = ssl.create_default_context(cafile=certificates)
            return http.client.HTTPSConnection(parts.hostname, parts.port, timeout=timeout, context=context)
    except ValueError:
        pass
    raise UsageError(f"{url!r} is no address of a server. Write http://HOST:PORT, such as http://127.0.0.1:8080.")


def _describe(name: str, tensor: Tensor, *, binary: bool = False) -> tuple[dict[str, Any], bytes]:
    if isinstance(tensor, np.ndarray):
        described = {"name": name, "datatype": DATATYPES[tensor.dtype], "shape": list(tensor.shape)}
        data = tensor.tobytes() if binary else b""
        plain: list[Any] = [] if binary else tensor.ravel().tolist()
    else:
        described = {"name": name, "datatype": "BYTES", "shape": [len(tensor)]}
        data = join_elements(tensor) if binary else b""
        plain = [] if binary else list(tensor)
    if binary:
        return {**described, "parameters": {"binary_data_size": len(data)}}, data
    return {**described, "data": plain}, data


def _read_outputs(outputs: list[dict[str, Any]], binary: memoryview) -> dict[str, Any]:
    read: dict[str, Any] = {}
    offset = 0
    for output in outputs:
        size = output.get("parameters", {}).get("binary_data_size")
        data = None if size is None else binary[offset : offset + size]
        offset += size or 0
        if output["datatype"] == "BYTES":
            read[output["name"]] = (
                output["data"] if data is None else [part.decode() for part in split_elements(data, len(data))]
            )
        else:
            dtype = DTYPES[output["datatype"]]
            flat = np.asarray(output["data"], dtype) if data is None else np.frombuffer(data, dtype)
            read[output["name"]] = flat.reshape(output["shape"])
    return read
