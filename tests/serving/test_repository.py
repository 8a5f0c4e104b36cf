"""The model repository API: load and unload while clients go on asking, and only models that prove themselves."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from sextant_serving.grpc_protocol import SERVICE, message
from sextant_serving.launch import Server, running_server

MakeBundle = Callable[..., Path]

BODY = json.dumps(
    {
        "inputs": [
            {"name": "image", "datatype": "UINT8", "shape": [1, 8, 8, 1], "data": [9] * 64},
            {"name": "features", "datatype": "FP32", "shape": [1, 2], "data": [1, 0]},
        ]
    }
).encode()
ADMIN = {"authorization": "Bearer administrator"}


def point(link: Path, bundle: Path) -> None:
    """Let `link` lead to a bundle, in one step."""
    fresh = link.with_name("fresh")
    fresh.symlink_to(bundle, target_is_directory=True)
    fresh.rename(link)


@pytest.fixture
def link(make_bundle: MakeBundle, tmp_path: Path) -> Path:
    """A path that leads to a bundle of version 3."""
    point(tmp_path / "bundle", make_bundle())
    return tmp_path / "bundle"


@pytest.fixture
def managed(link: Path, tmp_path: Path) -> Iterator[Server]:
    """A server of `link` on both ports, whose repository API is on."""
    (tmp_path / "token").write_text("administrator")
    with running_server(bundle=link, grpc=True, arguments=["--admin-token-file", str(tmp_path / "token")]) as server:
        yield server


@pytest.fixture(scope="module")
def steady(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose repository API is on, and whose model stays in service."""
    token = tmp_path_factory.mktemp("token") / "token"
    token.write_text("administrator\n")
    with running_server(bundle=bundle, arguments=["--admin-token-file", str(token)]) as server:
        yield server


def infer_request() -> Any:
    """Return a gRPC request that every bundle of these tests can answer."""
    request = message("ModelInferRequest")(model_name="parcels")
    request.inputs.add(name="image", datatype="UINT8", shape=[1, 8, 8, 1])
    request.inputs.add(name="features", datatype="FP32", shape=[1, 2])
    request.raw_input_contents.extend([bytes(64), np.ones(2, np.float32).tobytes()])
    return request


def test_a_load_under_way_loses_no_request_of_either_port(managed: Server, link: Path, make_bundle: MakeBundle) -> None:
    """Clients on both ports ask without pause; every answer is good, from the old model and then from the new."""
    stop, seen = threading.Event(), []
    both_versions = threading.Barrier(5)

    def until_stopped(ask: Callable[[], tuple[int, str]]) -> None:
        waited = False
        while not stop.is_set():
            seen.append(ask())
            if not waited:
                both_versions.wait(30)  # the load begins when every client has been answered once
                waited = True

    def over_http() -> None:
        with managed.client() as client:

            def ask() -> tuple[int, str]:
                status, _, body = client.request("POST", "/v2/models/parcels/infer", BODY)
                return status, json.loads(body).get("model_version", "")

            until_stopped(ask)

    def over_grpc() -> None:
        answered = message("ModelInferResponse")
        with grpc.insecure_channel(str(managed.grpc)) as channel:
            call = channel.unary_unary(
                f"/{SERVICE}/ModelInfer", lambda request: request.SerializeToString(), answered.FromString
            )
            request = infer_request()
            until_stopped(lambda: (200, call(request).model_version))

    threads = [threading.Thread(target=target) for target in (over_http, over_http, over_grpc, over_grpc)]
    for thread in threads:
        thread.start()
    both_versions.wait(30)
    point(link, make_bundle(version="4"))
    with managed.client() as client:
        assert client.request("POST", "/v2/repository/models/parcels/load", b"", ADMIN)[0] == 200
        until = len(seen) + 40
        while len(seen) < until:
            assert all(thread.is_alive() for thread in threads)
    stop.set()
    for thread in threads:
        thread.join()
    assert set(seen) == {(200, "3"), (200, "4")}


def test_a_model_that_fails_its_golden_requests_is_not_loaded(
    managed: Server, link: Path, make_bundle: MakeBundle
) -> None:
    """The answer says why, and the model in service stays."""
    point(link, make_bundle(version="4", golden_shift=0.5))
    with managed.client() as client:
        status, _, body = client.request("POST", "/v2/repository/models/parcels/load", b"{}", ADMIN)
        assert (status, b"golden.npz has outputs that the model misses" in body) == (409, True)
        assert json.loads(client.request("POST", "/v2/models/parcels/infer", BODY)[2])["model_version"] == "3"


def test_an_unloaded_model_is_not_ready_until_it_is_loaded(managed: Server) -> None:
    """Unload takes the server out of rotation; the index says so; load brings it back."""
    with managed.client() as client:

        def post(path: str, body: bytes = b"") -> tuple[int, Any]:
            status, _, answer = client.request("POST", f"/v2/repository/{path}", body, ADMIN)
            return status, json.loads(answer)

        assert post("index") == (200, [{"name": "parcels", "version": "3", "state": "READY", "reason": ""}])
        assert post("models/parcels/unload") == (200, {"name": "parcels", "unload": True})
        assert not client.ready()
        status, headers, _ = client.request("POST", "/v2/models/parcels/infer", BODY)
        assert (status, headers["retry-after"]) == (503, "1")
        assert post("index")[1][0]["state"] == "UNAVAILABLE"
        assert post("index", b'{"ready": true}') == (200, [])
        assert post("models/parcels/load") == (200, {"name": "parcels", "load": True})
        assert client.ready()
        assert client.request("POST", "/v2/models/parcels/infer", BODY)[0] == 200


def test_a_grpc_client_comes_back_when_it_is_told_to(managed: Server) -> None:
    """A refused call is tried again after the second that the refusal names; its own policy would have given up."""
    policy = {
        "name": [{}],
        "retryPolicy": {
            "maxAttempts": 5,
            "initialBackoff": "0.01s",
            "maxBackoff": "0.01s",
            "backoffMultiplier": 1,
            "retryableStatusCodes": ["UNAVAILABLE"],
        },
    }
    request = message("ModelInferRequest")(model_name="parcels")
    request.inputs.add(name="image", datatype="UINT8", shape=[1, 8, 8, 1])
    request.raw_input_contents.append(bytes(64))
    sent, method = request.SerializeToString(), f"/{SERVICE}/ModelInfer"
    patient = grpc.insecure_channel(
        str(managed.grpc), [("grpc.service_config", json.dumps({"methodConfig": [policy]}))]
    )
    with managed.client() as client, patient, grpc.insecure_channel(str(managed.grpc)) as plain:
        assert client.request("POST", "/v2/repository/models/parcels/unload", b"", ADMIN)[0] == 200
        answer = patient.unary_unary(method, None, message("ModelInferResponse").FromString).future(sent, timeout=30)
        with pytest.raises(grpc.RpcError) as refused:
            plain.unary_unary(method)(sent, timeout=30)
        with pytest.raises(grpc.FutureTimeoutError):  # five tries of the policy's own would have ended long before
            answer.result(timeout=0.5)
        assert client.request("POST", "/v2/repository/models/parcels/load", b"", ADMIN)[0] == 200
        assert answer.result().model_name == "parcels"
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    assert ("grpc-retry-pushback-ms", "1000") in refused.value.trailing_metadata()


@pytest.mark.parametrize(
    ("path", "headers", "body", "status"),
    [
        pytest.param("models/parcels/load", {}, b"", 401, id="no-token"),
        pytest.param("index", {"authorization": "Bearer administrator2"}, b"", 401, id="another-token"),
        pytest.param("index", {"authorization": "Basic administrator"}, b"", 401, id="another-scheme"),
        pytest.param("models/other/load", ADMIN, b"", 404, id="another-model"),
        pytest.param("models/parcels/load", ADMIN, b'{"parameters": {"config": "{}"}}', 400, id="a-model-by-wire"),
        pytest.param("models/parcels/load", ADMIN, b"SECRET", 400, id="no-json"),
    ],
)
def test_what_may_not_be_loaded_is_refused(
    server: Server, steady: Server, *, path: str, headers: dict[str, str], body: bytes, status: int
) -> None:
    """Only the bearer of the token manages the one model, and nobody does where there is no token."""
    with steady.client() as client:
        answered, _, words = client.request("POST", f"/v2/repository/{path}", body, headers)
        assert (answered, b"SECRET" in words) == (status, False)
        assert client.ready()
    with server.client() as client:
        assert client.request("POST", f"/v2/repository/{path}", body, headers)[0] == 403
