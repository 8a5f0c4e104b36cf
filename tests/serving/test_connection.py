"""What the HTTP layer does with clients that are odd, slow, greedy or malformed."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sextant_serving.http_types import origin_form
from sextant_serving.launch import Server, running_server

GET = b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n"
LAST_GET = GET.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")


@pytest.fixture(scope="module")
def strict(bundle: Path) -> Iterator[Server]:
    """A server with short patience and small bodies."""
    limits = ["--max-body-bytes", "2000", "--read-seconds", "0.4", "--idle-seconds", "0.4"]
    with running_server(bundle=bundle, arguments=limits) as running:
        yield running


def exchange(server: Server, *parts: bytes) -> bytes:
    """Send bytes and return all that comes back until the server closes."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        for part in parts:
            raw.sendall(part)
        answers = []
        while answer := raw.recv(65536):
            answers.append(answer)
    return b"".join(answers)


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    """Many requests in one write come back one for one, in their order, whatever each takes."""
    infer = json.dumps(
        {
            "id": "first",
            "inputs": [
                {"name": "image", "datatype": "UINT8", "shape": [1, 8, 8, 1], "data": [9] * 64},
                {"name": "features", "datatype": "FP32", "shape": [1, 2], "data": [1, 0]},
            ],
        }
    ).encode()
    post = b"POST /v2/models/parcels/infer HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(infer)
    answer = exchange(server, post + infer + GET * 40 + LAST_GET)
    assert answer.count(b"HTTP/1.1 200 OK") == 42
    assert answer.index(b'"id":"first"') < answer.index(b'{"live":true}')


def test_pipelined_requests_may_begin_inside_another(server: Server) -> None:
    """A long write that ends one request's headers and brings many more is not one long header."""
    answer = exchange(server, GET[:10], GET[10:] + GET * 1000 + GET[:-2], b"connection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 OK") == 1002


def test_head_is_answered_like_get_without_the_body(server: Server) -> None:
    """A body would be read as the next answer's beginning."""
    answer = exchange(server, GET.replace(b"GET", b"HEAD") + LAST_GET)
    assert answer.count(b"content-length: 13") == 2
    assert answer.count(b'{"live":true}') == 1


def test_headers_after_a_chunked_body_change_nothing(server: Server) -> None:
    """A trailer cannot turn JSON into a picture, nor end the connection."""
    head = b"POST /v1/models/parcels:predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    answer = exchange(server, head + b"2\r\n{}\r\n0\r\ncontent-type: image/png\r\n\r\n" + LAST_GET)
    assert b"instances: not a list of rows" in answer
    assert b'{"live":true}' in answer


def test_a_request_in_single_bytes_is_understood(server: Server) -> None:
    """Where TCP cuts the stream does not matter."""
    assert b'{"live":true}' in exchange(server, *(LAST_GET[i : i + 1] for i in range(len(LAST_GET))))


def test_a_chunked_body_is_understood(server: Server) -> None:
    """Transfer encoding chunked is read like any other body."""
    head = b"POST /feedback HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    body = b'{"prediction_id":"0","label":"light"}'
    answer = exchange(server, head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
    assert b'"outcome":"unmatched"' in answer


def test_an_upgrade_offer_is_declined_by_answering(server: Server) -> None:
    """Clients that offer HTTP/2 on every first request are served in HTTP/1.1."""
    offer = GET.replace(b"\r\n\r\n", b"\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n")
    assert exchange(server, offer + LAST_GET).count(b'{"live":true}') == 2


@pytest.mark.parametrize(
    "framing", [b"content-length: %d\r\n\r\n%b", b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"]
)
@pytest.mark.parametrize("body", [b'{"prediction_id":"0","label":"light"}', GET])
def test_a_request_that_offers_an_upgrade_keeps_its_body(server: Server, framing: bytes, body: bytes) -> None:
    """The body belongs to the request, as Java's clients send it, and is never a request of its own."""
    head = b"POST /feedback HTTP/1.1\r\nhost: x\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\n"
    sent = head + framing % (len(body), body)
    for parts in ([sent + LAST_GET], [sent[:100], sent[100:-5], sent[-5:], LAST_GET]):
        answer = exchange(server, *parts)
        assert answer.count(b"HTTP/1.1 ") == 2
        assert answer.startswith(b"HTTP/1.1 400 " if body == GET else b"HTTP/1.1 200 ")
        assert answer.endswith(b'{"live":true}')


def test_a_target_in_absolute_form_is_a_path(server: Server) -> None:
    """A proxy may send the whole URL."""
    assert exchange(server, LAST_GET.replace(b"/v2", b"http://x/v2")).endswith(b'{"live":true}')
    assert origin_form(b"HTTP://x?a=b") == b"/?a=b"
    assert origin_form(b"http://x") == b"/"


def test_expect_continue_is_answered_before_the_body(server: Server) -> None:
    """A client that waits for leave to send gets it."""
    body = b'{"prediction_id":"0","label":"light"}'
    head = (
        b"POST /feedback HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
    )
    answer = exchange(server, head % len(body), body)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(b"nonsense\r\n\r\n", b"400", id="no-http"),
        pytest.param(
            b"POST /feedback HTTP/1.1\r\nhost: x\r\ncontent-length: 2001\r\n\r\n", b"413", id="announced-body"
        ),
        pytest.param(
            b"POST /feedback HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n7d1\r\n" + b"x" * 2001,
            b"413",
            id="chunks",
        ),
        pytest.param(b"GET / HTTP/1.1\r\nhost: x\r\nlong: " + b"x" * 40000 + b"\r\n\r\n", b"431", id="header"),
        pytest.param(b"GET /" + b"x" * 40000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", b"431", id="target"),
        pytest.param(
            b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n0\r\nt: "
            + b"x" * 40000
            + b"\r\n\r\n",
            b"431",
            id="trailer",
        ),
        pytest.param(b"GET /v2/%ff HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", b"400", id="not-utf8"),
        pytest.param(b"CONNECT x:80 HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nGET /", b"405", id="proxy"),
        pytest.param(b"GET /v2 HTTP/1.1\r\n\r\n", b"400", id="no-host"),
        pytest.param(b"GET /v2 HTTP/1.1\r\nhost: x\r\nhost: x\r\n\r\n", b"400", id="two-hosts"),
        pytest.param(b"GET /nothing HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", b"404", id="no-path"),
    ],
)
def test_what_is_out_of_bounds_is_refused_and_the_client_can_read_it(
    strict: Server, sent: bytes, status: bytes
) -> None:
    """Every refusal is a complete answer in JSON, even to a client that is still sending."""
    answer = exchange(strict, sent)
    assert answer.split(b" ")[1] == status
    assert "error" in json.loads(answer.split(b"\r\n\r\n")[1])


def test_a_slow_client_is_told_and_left(strict: Server) -> None:
    """A request that does not become complete in time is 408."""
    begun = time.monotonic()
    assert exchange(strict, GET[:-2]).startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - begun < 5


def test_an_idle_connection_is_closed(strict: Server) -> None:
    """A kept connection without requests does not stay for ever."""
    assert exchange(strict, GET).count(b'{"live":true}') == 1
