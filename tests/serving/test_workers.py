"""Several worker processes on one pair of ports: to a client they are one server."""

from __future__ import annotations

import base64
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from sextant_plan.bundle import CodeRef, read_bundle, seal_bundle
from sextant_plan.entrypoints import entrypoint_digest
from sextant_serving.client import Client, Tensor
from sextant_serving.hardware import usable_cores, visible_gpus
from sextant_serving.launch import Server, ServerDidNotStart, running_server
from sextant_serving.options import parse_options

MakeBundle = Callable[..., Path]

ROW: dict[str, Tensor] = {"image": np.zeros((1, 8, 8, 1), np.uint8), "features": np.zeros((1, 2), np.float32)}
WORKERS = 3


@pytest.fixture(scope="module")
def crew(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of three workers; it must end with exit code 0."""
    token = tmp_path_factory.mktemp("token") / "token"
    token.write_text("administrator\n")
    arguments = ["--workers", str(WORKERS), "--admin-token-file", str(token)]
    with running_server(bundle=bundle, grpc=True, arguments=arguments) as running:
        yield running
    assert running.process.returncode == 0


def children_of(server: Server) -> set[int]:
    """Return the ids of the server's workers."""
    process = server.process.pid
    return {int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()}


def ask_each(server: Server) -> list[str]:
    """Ask over new connections until every worker has answered; returns an id of each one's answers."""
    found: dict[str, str] = {}
    while len(found) < WORKERS:
        with server.client() as client:
            client.infer_binary(ROW)
            assert client.prediction_id is not None
            prefix = client.prediction_id.partition("-")[0]
            found[prefix] = client.prediction_id
    return list(found.values())


def value_of(client: Client, name: str, **labels: str) -> float:
    """Return the one sample that has these labels."""
    families = text_string_to_metric_families(client.metrics_text())
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    [value] = [sample.value for sample in samples if labels.items() <= sample.labels.items()]
    return value


def test_every_worker_answers_and_any_shows_the_counters_of_all(crew: Server) -> None:
    """Whoever is asked for the page, it has every worker's requests, once."""
    assert len(children_of(crew)) == WORKERS
    with crew.client() as client:
        before = value_of(client, "sextant_requests_total", code="200")
    asked = len(ask_each(crew))
    pages = []
    for _ in range(6):
        with crew.client() as client:
            pages.append(value_of(client, "sextant_requests_total", code="200"))
            assert value_of(client, "sextant_ready") == 1
    assert len(set(pages)) == 1
    assert pages[0] >= before + asked
    with crew.client() as client:
        assert value_of(client, "sextant_request_seconds_count") == pages[0]
        assert value_of(client, "sextant_request_seconds_bucket", le="+Inf") == pages[0]


def test_a_label_finds_the_worker_that_made_the_prediction(crew: Server) -> None:
    """One connection, so one worker, is sent the labels of all three."""
    ids = ask_each(crew)
    with crew.client() as client:
        assert {client.send_feedback(one, "nothing like it") for one in ids} == {"disagree"}
        assert {client.send_feedback(one, "nothing like it") for one in ids} == {"repeated"}
        assert client.send_feedback("0" * 14 + "-1", "light") == "unmatched"


def test_unload_and_load_reach_every_worker(crew: Server) -> None:
    """After the one none answers, after the other all do."""
    token = {"authorization": "Bearer administrator"}
    with crew.client() as client:
        assert client.request("POST", "/v2/repository/models/parcels/unload", b"", token)[0] == 200
    for _ in range(12):
        with crew.client() as client:
            assert not client.ready()
    with crew.client() as client:
        assert client.request("POST", "/v2/repository/models/parcels/load", b"", token)[0] == 200
        assert client.ready()
    ask_each(crew)


def test_grpc_is_shared_too(crew: Server) -> None:
    """Calls over separate connections are answered, and counted beside those over HTTP."""
    import grpc

    from sextant_serving.grpc_protocol import SERVICE, message

    answered = message("ServerReadyResponse")
    for number in range(8):
        options = [("grpc.use_local_subchannel_pool", 1), ("test.number", number)]
        with grpc.insecure_channel(str(crew.grpc), options=options) as channel:
            call = channel.unary_unary(f"/{SERVICE}/ServerReady", None, answered.FromString)
            assert call(b"", timeout=30).ready


def test_the_port_of_several_workers_is_in_use(crew: Server, bundle: Path) -> None:
    """Workers share a port with each other and with nobody else."""
    port = int(crew.url.rpartition(":")[2])
    for arguments in ([], ["--workers", "2"]):
        with pytest.raises(ServerDidNotStart, match=rf"127\.0\.0\.1:{port} is in use.*--port") as failure:
            running_server(bundle=bundle, port=port, arguments=arguments).__enter__()
        assert failure.value.returned == 4


def test_a_bundle_that_cannot_be_served_is_told_once(make_bundle: MakeBundle) -> None:
    """The first worker finds it before the others start; the exit code is its own."""
    with pytest.raises(ServerDidNotStart) as failure:
        running_server(bundle=make_bundle(golden_shift=0.01), arguments=["--workers", "2"]).__enter__()
    assert failure.value.returned == 4
    assert str(failure.value).count("golden.npz") == 1


@pytest.mark.parametrize("killed", [pytest.param("worker", id="a-worker"), pytest.param("parent", id="their-parent")])
def test_who_dies_does_not_leave_the_others_behind(bundle: Path, killed: str) -> None:
    """A worker's death ends the server with exit code 4; the parent's ends the workers, and their port is free."""
    with running_server(bundle=bundle, arguments=["--workers", "2"]) as server:
        workers = children_of(server)
        watched = [os.pidfd_open(pid) for pid in workers]
        os.kill(min(workers) if killed == "worker" else server.process.pid, signal.SIGKILL)
        assert server.process.wait(60) == (4 if killed == "worker" else -signal.SIGKILL)
        for descriptor in watched:
            wait_until_ended(descriptor)
    with running_server(bundle=bundle, port=int(server.url.rpartition(":")[2])):
        pass


def wait_until_ended(descriptor: int) -> None:
    """Return when the process has ended."""
    import select

    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    assert waiting.poll(60_000)
    os.close(descriptor)


def test_workers_swap_to_a_new_bundle_each_by_itself(make_bundle: MakeBundle, tmp_path: Path) -> None:
    """A load through one worker puts the new version into service in all."""
    folder, token = tmp_path / "bundle", tmp_path / "token"
    token.write_text("administrator\n")
    folder.symlink_to(make_bundle())
    new = make_bundle()
    seal_bundle(new, read_bundle(new).model_copy(update={"version": "4"}))
    arguments = ["--workers", str(WORKERS), "--admin-token-file", str(token)]
    with running_server(bundle=folder, arguments=arguments) as server:
        (tmp_path / "next").symlink_to(new)
        (tmp_path / "next").rename(folder)
        with server.client() as client:
            path, header = "/v2/repository/models/parcels/load", {"authorization": "Bearer administrator"}
            assert client.request("POST", path, b"", header)[0] == 200
        versions: set[Any] = set()
        for _ in range(12):
            with server.client() as client:
                versions.update(json.loads(client.request("GET", "/v2/models/parcels")[2])["versions"])
    assert versions == {"4"}


def test_each_worker_sees_one_gpu_and_all_are_used(
    make_bundle: MakeBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the GPUs that the server may use the workers get one each, in turn, as code inside them finds it."""
    (tmp_path / "own_gpu.py").write_text(
        "import os\ndef tell(prediction, row):\n    return {'gpu': os.environ['CUDA_VISIBLE_DEVICES']}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    code = CodeRef(entrypoint="own_gpu:tell", digest=entrypoint_digest("own_gpu:tell"))
    found: dict[str, str] = {}
    arguments = ["--workers", str(WORKERS)]
    with running_server(bundle=make_bundle(serving={"attachment": code}), arguments=arguments) as server:
        while len(found) < WORKERS:
            with server.client() as client:
                row = {"image": [[[9]] * 8] * 8, "weight": 1, "zone": "north"}
                (answer,) = client.predict_v1([row], attachments=True)
                worker = answer["prediction_id"].partition("-")[0][-2:]
                found[worker] = base64.b64decode(answer["attachments"]["gpu"]["b64"]).decode()
    assert found == {"00": "4", "01": "7", "02": "4"}


def test_auto_is_one_worker_for_each_gpu_or_else_each_core(tmp_path: Path) -> None:
    """GPUs are those that CUDA may see; cores are no more than the container's quota."""
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert visible_gpus({}, tmp_path) == ["0", "1"]
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "3,GPU-8f"}, tmp_path) == ["3", "GPU-8f"]
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": ""}, tmp_path) == []
    cores = len(os.sched_getaffinity(0))
    quota = tmp_path / "cpu.max"
    for words, expected in (
        ("max 100000", cores),
        ("150000 100000", 1),
        ("9900000 100000", cores),
        ("50000 100000", 1),
    ):
        quota.write_text(words)
        assert usable_cores(quota) == expected
    assert usable_cores(tmp_path / "absent") == cores
    assert parse_options(["--bundle", "b", "--workers", "auto"]).workers >= 1
