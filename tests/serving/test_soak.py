"""An hour and a million requests, good, bad and broken off, over both ports: no server error, no growth of memory."""

from __future__ import annotations

import io
import os
import random
import socket
import threading
import time
from collections import Counter
from pathlib import Path

import grpc
import numpy as np
import orjson
import pytest

from sextant_serving.grpc_protocol import SERVICE, message
from sextant_serving.launch import Server, running_server

SECONDS = float(os.environ.get("SEXTANT_SOAK_SECONDS", "3600"))
REQUESTS_A_SECOND = 1_000_000 / 3600
CLIENTS = 4
ABANDONED = 1 << 20  # bytes
BURST = 16
SETTLED = 0.25  # share of the time after which memory must not grow any more: caches and arenas are filled by then
GROWTH_BYTES = 32 << 20
PAUSE = 0.05  # seconds between streams, and between uploads that are broken off
DONE = ("streamed", "broken off")
BLAME_THE_CLIENT = ("INVALID_ARGUMENT", "NOT_FOUND")


def post(path: bytes, body: bytes, *headers: bytes) -> bytes:
    """Return a request."""
    lines = (b"POST %b HTTP/1.1" % path, b"host: x", b"content-length: %d" % len(body), *headers)
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def picture_of(kind: str) -> bytes:
    """Return a small grey picture as a file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4).save(file, kind)
    return file.getvalue()


def good_requests() -> list[bytes]:
    """Return one request of each kind that is answered 200."""
    image = {"name": "image", "datatype": "UINT8", "shape": [1, 8, 8, 1]}
    features = {"name": "features", "datatype": "FP32", "shape": [1, 2]}
    in_json = orjson.dumps({"inputs": [{**image, "data": [9] * 64}, {**features, "data": [1, 0]}]})
    sized = [{**image, "parameters": {"binary_data_size": 64}}, {**features, "parameters": {"binary_data_size": 8}}]
    head = orjson.dumps({"inputs": sized, "parameters": {"binary_data_output": True}})
    length = b"inference-header-content-length: %d" % len(head)
    binary = head + bytes(64) + np.ones(2, np.float32).tobytes()
    pixels = orjson.dumps({"instances": [{"image": np.zeros((8, 8, 1), int).tolist(), "zone": "south"}]})
    return [
        post(b"/v2/models/parcels/infer", in_json),
        post(b"/v2/models/parcels/infer", binary, length),
        post(b"/v1/models/parcels:predict", pixels),
        post(b"/v2/models/parcels/infer?zone=south&weight=1.5", picture_of("JPEG"), b"content-type: image/jpeg"),
        post(b"/v1/models/parcels:predict?zone=north", picture_of("PNG"), b"content-type: image/png"),
        post(b"/feedback", b'{"prediction_id":"1-1","label":"light"}'),
        b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n",
    ]


def good_calls() -> list[bytes]:
    """Return messages with typed and with raw contents that are answered OK."""
    typed, raw = (message("ModelInferRequest")(model_name="parcels") for _ in range(2))
    for request in (typed, raw):
        request.inputs.add(name="image", datatype="UINT8", shape=[1, 8, 8, 1])
        request.inputs.add(name="features", datatype="FP32", shape=[1, 2])
    typed.inputs[0].contents.uint_contents.extend([9] * 64)
    typed.inputs[1].contents.fp32_contents.extend([1.0, 0.0])
    raw.raw_input_contents.extend([bytes(64), np.ones(2, np.float32).tobytes()])
    return [typed.SerializeToString(), raw.SerializeToString()]


def break_off(address: tuple[str, int]) -> None:
    """Send half of a large body and leave."""
    with socket.create_connection(address, timeout=30) as raw:
        raw.sendall(post(b"/v2/models/parcels/infer", bytes(ABANDONED))[: -ABANDONED // 2])


def change(data: bytes, chance: random.Random) -> bytes:
    """Return the data with a few bytes changed."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        if changed:
            changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def spoil(request: bytes, chance: random.Random) -> bytes:
    """Return the request with a few bytes of its body changed."""
    head, _, body = request.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n" + change(body, chance)


def code_of(call: grpc.UnaryUnaryMultiCallable, request: bytes) -> str:
    """Return the name of the status of a call."""
    try:
        call(request, timeout=30)
    except grpc.RpcError as error:
        name: str = error.code().name
        return name
    return "OK"


def read_statuses(raw: socket.socket, count: int) -> list[bytes]:
    """Read `count` answers; returns their codes, fewer if the server closes."""
    buffer = b""
    statuses: list[bytes] = []
    while len(statuses) < count:
        head, mark, rest = buffer.partition(b"\r\n\r\n")
        if mark:
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            if len(rest) >= length:
                statuses.append(head[9:12])
                buffer = rest[length:]
                continue
        part = raw.recv(1 << 18)
        if not part:
            break
        buffer += part
    return statuses


def memory_of(server: Server) -> int:
    """Return the server's resident bytes."""
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) << 10


@pytest.mark.soak
@pytest.mark.timeout(SECONDS + 300)
def test_the_server_stays_well_under_good_and_bad_requests(bundle: Path) -> None:
    """Every code is below 500 or blames the client, memory settles, and the requests of an hour are a million."""
    counts: Counter[bytes | str] = Counter()
    stop, lock = threading.Event(), threading.Lock()
    # A short memory for feedback, so that it is full when memory is first measured.
    with running_server(bundle=bundle, grpc=True, arguments=["--remember", "1000"]) as server:
        host, port = server.url.removeprefix("http://").split(":")

        def client(seed: int) -> None:
            chance, requests = random.Random(seed), good_requests()
            while not stop.is_set():
                with socket.create_connection((host, int(port)), timeout=30) as raw:
                    for _ in range(200):
                        burst = [chance.choice(requests) for _ in range(BURST)]
                        burst[-1] = spoil(burst[-1], chance)
                        raw.sendall(b"".join(burst))
                        found = read_statuses(raw, BURST)
                        with lock:
                            counts.update(found)
                        if len(found) < BURST or stop.is_set():
                            break

        def caller(seed: int) -> None:
            chance, requests = random.Random(seed), good_calls()
            with grpc.insecure_channel(str(server.grpc)) as channel:
                call = channel.unary_unary(f"/{SERVICE}/ModelInfer")
                while not stop.is_set():
                    request = chance.choice(requests)
                    code = code_of(call, change(request, chance) if chance.random() < 1 / BURST else request)
                    with lock:
                        counts[code] += 1

        def streamer(seed: int) -> None:
            chance, requests = random.Random(seed), good_calls()
            with grpc.insecure_channel(str(server.grpc)) as channel:
                stream = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")
                while not stop.is_set():
                    sent = [chance.choice(requests) for _ in range(BURST)]
                    answered = sum(1 for _ in stream(iter([*sent[1:], change(sent[0], chance)]), timeout=30))
                    with lock:
                        counts["streamed"] += answered
                    stop.wait(PAUSE)

        def leaver() -> None:
            while not stop.is_set():
                break_off((host, int(port)))
                with lock:
                    counts["broken off"] += 1
                stop.wait(PAUSE)

        threads = [threading.Thread(target=client, args=(seed,)) for seed in range(CLIENTS)]
        threads.append(threading.Thread(target=caller, args=(CLIENTS,)))
        threads.append(threading.Thread(target=streamer, args=(CLIENTS + 1,)))
        threads.append(threading.Thread(target=leaver))
        begun = time.monotonic()
        for thread in threads:
            thread.start()
        stop.wait(SECONDS * SETTLED)
        settled = memory_of(server)
        stop.wait(max(0.0, begun + SECONDS - time.monotonic()))
        stop.set()
        for thread in threads:
            thread.join()
        grown = memory_of(server) - settled
        assert server.process.poll() is None
    total = sum(counts.values())
    codes, memory = dict(counts), f"{settled >> 20} MiB, grown {grown >> 10} KiB"
    print(f"{total} requests in {SECONDS:g} s, codes {codes}, memory {memory}")
    assert server.process.returncode == 0
    assert not [code for code in counts if isinstance(code, bytes) and code >= b"500"]
    assert not {code for code in counts if isinstance(code, str)} - {"OK", *BLAME_THE_CLIENT, *DONE}
    for code in (b"200", b"400", "OK", "INVALID_ARGUMENT", *DONE):
        assert counts[code]
    assert total >= SECONDS * REQUESTS_A_SECOND
    assert grown < GROWTH_BYTES
