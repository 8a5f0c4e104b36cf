"""From start to drain: what keeps a server from becoming ready, and what it does when told to stop."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sextant_plan.bundle import read_bundle
from sextant_plan.promotion import ActiveModel, write_active
from sextant_serving.client import Client
from sextant_serving.launch import ServerDidNotStart, running_server

MakeBundle = Callable[..., Path]

REQUEST = json.dumps(
    {
        "inputs": [
            {"name": "image", "datatype": "UINT8", "shape": [1, 8, 8, 1], "data": [9] * 64},
            {"name": "features", "datatype": "FP32", "shape": [1, 2], "data": [1, 0]},
        ]
    }
).encode()


def infer(client: Client) -> tuple[int, dict[str, str], bytes]:
    """Send one request that is right for every bundle of these tests."""
    status, headers, body = client.request("POST", f"/v2/models/{client.model}/infer", REQUEST)
    return status, dict(headers), body


def test_a_changed_file_is_refused(make_bundle: MakeBundle) -> None:
    """A bundle whose bytes are not the sealed ones never serves; the exit code is 4."""
    bundle = make_bundle()
    with (bundle / "model.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ServerDidNotStart, match=r"model\.onnx has sha256:.*Fetch the bundle again") as failure:
        running_server(bundle=bundle).__enter__()
    assert failure.value.returned == 4


def test_a_golden_mismatch_never_becomes_ready(make_bundle: MakeBundle) -> None:
    """A model that does not answer its golden requests as sealed never serves."""
    with pytest.raises(ServerDidNotStart, match=r"golden\.npz has outputs that the model misses by 0\.01"):
        running_server(bundle=make_bundle(golden_shift=0.01)).__enter__()


def test_a_port_in_use_is_named_with_the_remedy(bundle: Path) -> None:
    """The message names the port and what to do, and the exit code is 4."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerDidNotStart, match=rf"127\.0\.0\.1:{port} is in use.*--port") as failure:
            running_server(bundle=bundle, port=port).__enter__()
    assert failure.value.returned == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["--host", "192.0.2.1"], r"192\.0\.2\.1:0: cannot listen there", id="foreign-address"),
        pytest.param(["--feedback-log", "/nowhere/log"], "/nowhere/log: cannot be appended to", id="no-such-folder"),
    ],
)
def test_what_the_system_refuses_is_told_with_the_remedy(bundle: Path, arguments: list[str], words: str) -> None:
    """No traceback for an address or a file that cannot be used; the exit code is 4."""
    with pytest.raises(ServerDidNotStart, match=words) as failure:
        running_server(bundle=bundle, arguments=arguments).__enter__()
    assert failure.value.returned == 4
    assert "Traceback" not in str(failure.value)


def test_a_home_without_an_active_model_says_what_to_do(tmp_path: Path) -> None:
    """Nothing promoted is an error with a remedy."""
    with pytest.raises(ServerDidNotStart, match=r"active\.json: no active model\. Promote one"):
        running_server(home=tmp_path).__enter__()


def test_sigterm_answers_what_has_begun_and_exits_0(make_bundle: MakeBundle) -> None:
    """A request under way when SIGTERM comes is answered; the port is free afterwards."""
    with running_server(bundle=make_bundle(slow=150)) as server:
        with server.client() as client, socket.create_connection(address(server.url)) as raw:
            head = f"POST /v2/models/{server.model}/infer HTTP/1.1\r\nhost: x\r\ncontent-length: {len(REQUEST)}\r\n\r\n"
            raw.sendall(head.encode() + REQUEST[:-1])
            assert infer(client)[0] == 200  # so that the server has read the unfinished one by now
            server.process.send_signal(signal.SIGTERM)
            wait_until_closed(client)
            raw.sendall(REQUEST[-1:])
            answer = read_all(raw)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"connection: close\r\n" in answer
        assert server.process.wait(20) == 0
    with socket.create_server(address(server.url)):
        pass


def test_lingering_is_not_ready_but_still_answers(bundle: Path) -> None:
    """While routes move away after SIGTERM, readiness is refused and inference is not."""
    with running_server(bundle=bundle, arguments=["--linger-seconds", "30"]) as server, server.client() as client:
        assert client.ready()
        server.process.send_signal(signal.SIGTERM)
        while client.ready():
            pass
        assert client.request("GET", "/v2/health/live")[0] == 200
        assert infer(client)[0] == 200
        server.process.kill()


def test_a_hot_swap_loses_no_request(make_bundle: MakeBundle, tmp_path: Path) -> None:
    """Requests sent without pause over a swap are all answered, by the old model and then by the new."""
    activate(tmp_path, make_bundle(), "1")
    statuses: list[int] = []
    versions: list[str] = []
    with running_server(home=tmp_path) as server:
        stop = threading.Event()

        def loop() -> None:
            with server.client() as client:
                while not stop.is_set():
                    status, _, body = infer(client)
                    statuses.append(status)
                    versions.append(json.loads(body).get("model_version", ""))

        threads = [threading.Thread(target=loop) for _ in range(4)]
        for thread in threads:
            thread.start()
        activate(tmp_path, make_bundle(), "2")
        with server.client() as client:
            while json.loads(infer(client)[2])["model_version"] != "2":
                pass
            stop.set()
            for thread in threads:
                thread.join()
            page = client.metrics_text()
    assert set(statuses) == {200}
    assert set(versions) == {"1", "2"}
    assert 'sextant_ready{model="parcels",variant="stable",version="1"} 0.0' in page
    assert 'sextant_ready{model="parcels",variant="stable",version="2"} 1.0' in page


def put_a_file_in_its_place(bundle: Path) -> None:
    """Leave no folder at the bundle's path, as a store that went away does."""
    bundle.rename(bundle.with_name("elsewhere"))
    bundle.write_text("not a folder")


@pytest.mark.parametrize(
    ("shift", "spoil"),
    [pytest.param(0.5, None, id="golden-requests"), pytest.param(0.0, put_a_file_in_its_place, id="unreadable")],
)
def test_a_swap_to_a_bad_bundle_keeps_the_old_model(
    make_bundle: MakeBundle, tmp_path: Path, shift: float, spoil: Callable[[Path], None] | None
) -> None:
    """A promoted bundle that fails its golden requests, or cannot be read, is reported and not served."""
    activate(tmp_path, make_bundle(), "1")
    log = tmp_path / "server.log"
    with running_server(home=tmp_path, log=log) as server, server.client() as client:
        bad = make_bundle(golden_shift=shift)
        digest = read_bundle(bad).digest
        if spoil is not None:
            spoil(bad)
        activate(tmp_path, bad, "2", digest)
        while "still serving the previous model" not in log.read_text():
            assert client.ready()
        assert json.loads(infer(client)[2])["model_version"] == "1"


def test_an_onnx_server_imports_neither_torch_nor_feast(bundle: Path) -> None:
    """What the bundle does not need is not loaded: the ONNX image has no torch."""
    script = (
        "import sys\nfrom concurrent.futures import ThreadPoolExecutor\nfrom pathlib import Path\n"
        "import sextant_serving.server\nassert 'onnxruntime' not in sys.modules\n"
        "from sextant_serving.loading import Source, load\n"
        "load(Source(Path(sys.argv[1])), threads=1, lookup_thread=ThreadPoolExecutor(1))\n"
        "print(*({'torch', 'feast', 'mlflow', 'pandas', 'sklearn'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script, str(bundle)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_usage_errors_exit_2() -> None:
    """Options that contradict each other are a usage error."""
    command = [sys.executable, "-m", "sextant_serving", "--home", "a", "--bundle", "b"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "not allowed with" in done.stderr


def activate(home: Path, bundle: Path, version: str, digest: str | None = None) -> None:
    """Promote a bundle in the home."""
    write_active(
        home,
        ActiveModel(
            name="parcels",
            version=version,
            digest=digest or read_bundle(bundle).digest,
            bundle=str(bundle),
            feature_repo=None,
            sequence=f"seq-{int(version):04d}",
            previous=None,
        ),
    )


def address(url: str) -> tuple[str, int]:
    """Return the host and port of a server's URL."""
    host, port = url.removeprefix("http://").split(":")
    return host, int(port)


def wait_until_closed(client: Client) -> None:
    """Return when the server takes no new connections."""
    while client.ready():
        pass


def read_all(raw: socket.socket) -> bytes:
    """Read until the server closes."""
    parts = []
    while part := raw.recv(65536):
        parts.append(part)
    return b"".join(parts)


def test_deadlines_and_full_queues_are_told_apart(make_bundle: MakeBundle) -> None:
    """More than the queue holds is 429 with Retry-After; what waits too long is 504; the server stays alive."""
    bundle = make_bundle(slow=300, serving={"queue_rows": 3, "max_rows": 1, "deadline": 0.3})
    answers: list[tuple[int, str | None]] = []
    with running_server(bundle=bundle) as server:

        def once() -> None:
            with server.client() as client:
                status, headers, _ = infer(client)
                answers.append((status, headers.get("retry-after")))

        threads = [threading.Thread(target=once) for _ in range(12)]
        for thread in threads:
            thread.start()
        with server.client() as client:
            assert client.request("GET", "/v2/health/live")[0] == 200
            for thread in threads:
                thread.join()
            status, _, _ = client.request(
                "POST",
                f"/v2/models/{server.model}/infer",
                json.dumps({"inputs": [rows_of(4, 64, "image", "UINT8"), rows_of(4, 2, "features", "FP32")]}).encode(),
            )
            assert status == 413
            page = client.metrics_text()
    assert {status for status, _ in answers} <= {200, 429, 504}
    assert (429, "1") in answers
    assert (504, None) in answers
    late, good = answers.count((504, None)), answers.count((200, None))
    assert f'request_predict_seconds_count{{model_name="parcels"}} {float(late + good)}' in page
    assert f'request_postprocess_seconds_count{{model_name="parcels"}} {float(good)}' in page
    assert f'code="429",model="parcels",variant="stable",version="3"}} {float(answers.count((429, "1")))}' in page


def rows_of(rows: int, width: int, name: str, datatype: str) -> dict[str, object]:
    """Return a v2 input tensor of ones."""
    shape = [rows, 8, 8, 1] if name == "image" else [rows, width]
    return {"name": name, "datatype": datatype, "shape": shape, "data": np.ones(rows * width, int).tolist()}
