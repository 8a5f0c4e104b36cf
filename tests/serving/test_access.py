"""TLS, bearer tokens and logs: who may ask, over what, and what is written down of it."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from sextant_serving.access import Access
from sextant_serving.client import Client, Refused
from sextant_serving.errors import Unauthorized
from sextant_serving.grpc_protocol import SERVICE, message
from sextant_serving.launch import Server, ServerDidNotStart, running_server

IMAGE = np.zeros((1, 8, 8, 1), np.uint8)


@pytest.fixture(scope="module")
def pair(write_pair: Callable[..., tuple[Path, Path]]) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, signed by itself, and its key."""
    return write_pair("127.0.0.1")


@pytest.fixture(scope="module")
def locked(bundle: Path, pair: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with TLS and a token on both ports, whose log is JSON; it must end with exit code 0."""
    folder = tmp_path_factory.mktemp("locked")
    (folder / "token").write_text("open-sesame\n")
    arguments = ["--tls-cert", str(pair[0]), "--tls-key", str(pair[1]), "--token-file", str(folder / "token")]
    with running_server(
        bundle=bundle,
        grpc=True,
        token="open-sesame",
        certificates=pair[0],
        log=folder / "log",
        arguments=[*arguments, "--log-format", "json"],
    ) as running:
        yield running
    assert running.process.returncode == 0
    lines = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
    assert lines
    for line in lines:
        assert {"time", "level", "logger", "message"} <= line.keys()


def test_http_needs_the_token_over_tls(locked: Server) -> None:
    """The bearer is answered; without the token everything but health is 401; without TLS nothing is answered."""
    with locked.client() as client:
        assert client.infer_binary({"image": IMAGE})["label"]
    with Client(locked.url, "parcels", certificates=locked.certificates) as client:
        assert client.ready()
        assert [client.request("GET", path)[0] for path in ("/", "/v2/health/live")] == [200, 200]
        for path in ("/v1/models", "/v2", "/metrics", "/v2/models/parcels", "/v2/health/live/x", "/v2/health%2flive"):
            status, headers, _ = client.request("GET", path)
            assert (path, status, headers["www-authenticate"]) == (path, 401, "Bearer")
        with pytest.raises(Refused, match="401"):
            client.infer_binary({"image": IMAGE})
    with Client(locked.url.replace("https", "http")) as client:
        assert not client.ready()
    with Client(locked.url) as client, pytest.raises(ssl.SSLCertVerificationError):
        client.request("GET", "/v2/health/live")


def test_grpc_needs_the_token_over_tls(locked: Server, pair: tuple[Path, Path]) -> None:
    """The same holds of calls and streams."""
    request = message("ModelInferRequest")(model_name="parcels")
    request.inputs.add(name="image", datatype="UINT8", shape=[1, 8, 8, 1])
    request.raw_input_contents.append(IMAGE.tobytes())
    sent = request.SerializeToString()
    credentials = grpc.ssl_channel_credentials(pair[0].read_bytes())
    bearer = (("authorization", "Bearer open-sesame"),)
    with grpc.secure_channel(str(locked.grpc), credentials) as channel:
        infer = channel.unary_unary(f"/{SERVICE}/ModelInfer", None, message("ModelInferResponse").FromString)
        stream = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")
        assert infer(sent, metadata=bearer).model_name == "parcels"
        assert len(list(stream(iter([sent, sent]), metadata=bearer))) == 2
        assert channel.unary_unary(f"/{SERVICE}/ServerLive")(b"") == b"\x08\x01"
        for ask in (lambda: infer(sent), lambda: list(stream(iter([sent])))):
            with pytest.raises(grpc.RpcError) as refused:
                ask()
            assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    ("header", "passes"),
    [
        (b"Bearer inference", True),
        (b"bearer  inference", True),
        (b"Bearer administration", True),
        (b"Bearer inferenc", False),
        (b"Bearer inference2", False),
        (b"Bearer", False),
        (b"Basic inference", False),
        (b"inference", False),
        (b"", False),
        (None, False),
    ],
)
def test_only_a_whole_token_of_the_right_scheme_passes(header: bytes | None, *, passes: bool) -> None:
    """The administrator's token is good for inference, not the other way round."""
    access = Access("inference", "administration")
    if passes:
        access.check(header)
    else:
        with pytest.raises(Unauthorized):
            access.check(header)
    with pytest.raises(Unauthorized):
        access.check_admin(b"Bearer inference")


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        pytest.param(["--token-file", "/nowhere"], "/nowhere: no token can be read", 4, id="no-token-file"),
        pytest.param(["--token-file", "/dev/null"], "/dev/null: no token can be read", 4, id="empty-token"),
        pytest.param(["--tls-cert", "/nowhere", "--tls-key", "/nowhere"], "/nowhere: no TLS", 4, id="no-certificate"),
        pytest.param(["--tls-cert", "x"], "--tls-cert and --tls-key go together", 2, id="half-a-pair"),
        pytest.param(["--max-held-bytes", "9"], "--max-held-bytes is less than one body", 2, id="no-room-for-a-body"),
        pytest.param(["--grpc-port", "x"], "give a port, 0 or off", 2, id="no-port"),
    ],
)
def test_what_cannot_protect_keeps_the_server_from_starting(
    bundle: Path, arguments: list[str], words: str, code: int
) -> None:
    """A server that should be locked is never open by mistake."""
    with pytest.raises(ServerDidNotStart, match=words) as failure:
        running_server(bundle=bundle, arguments=arguments).__enter__()
    assert failure.value.returned == code
    assert "Traceback" not in str(failure.value)
