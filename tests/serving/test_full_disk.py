"""A disk that is full for a while: what is lost is counted or refused, and the logs go on once there is room."""

from __future__ import annotations

import fcntl
import json
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from sextant_serving.client import Client
from sextant_serving.launch import Server, running_server
from sextant_serving.log_files import ROWS_A_GROUP

MakeBundle = Callable[..., Path]
HALF = ROWS_A_GROUP // 2


@contextmanager
def room_for(server: Server, size: int) -> Iterator[None]:
    """Let no file of the server grow beyond `size` bytes: the system refuses it as a full disk does."""
    process, before = server.process.pid, resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process, resource.RLIMIT_FSIZE, (size, before[1]))
    yield
    resource.prlimit(process, resource.RLIMIT_FSIZE, before)


def counted(client: Client, series: str) -> dict[str, float]:
    """Return a counter's values by outcome."""
    families = text_string_to_metric_families(client.metrics_text())
    return {one.labels["outcome"]: one.value for family in families for one in family.samples if one.name == series}


def test_the_prediction_log_goes_on_after_a_full_disk(make_bundle: MakeBundle, tmp_path: Path) -> None:
    """Rows of a file that cannot be written count as dropped and leave nothing behind; later ones are there."""
    import pyarrow.parquet as pq

    log = {"sample": 1.0, "columns": ["weight"]}
    bundle = make_bundle(serving={"log": log, "max_rows": HALF, "queue_rows": HALF, "deadline": 60.0})
    weights = np.random.default_rng(1).normal(size=HALF).astype(np.float32)
    with (
        running_server(bundle=bundle, arguments=["--prediction-log", str(tmp_path)]) as server,
        server.client() as client,
    ):

        def send() -> None:
            client.infer_binary({"image": np.zeros((HALF, 8, 8, 1), np.uint8), "weight": weights})

        def await_dropped(rows: int) -> None:
            deadline, expected = time.monotonic() + 30, {"written": 0, "dropped": rows}
            while (found := counted(client, "sextant_prediction_log_rows_total")) != expected:
                assert time.monotonic() < deadline, found

        with room_for(server, 4096):  # enough to begin a file, and not for a group of rows
            send()
            send()
            await_dropped(2 * HALF)
        with room_for(server, 0):
            send()
            await_dropped(3 * HALF)
            assert list(tmp_path.iterdir()) == []
        send()
    (kept,) = tmp_path.iterdir()
    assert pq.read_table(kept).num_rows == HALF


def test_a_label_without_room_in_the_log_can_be_sent_again(bundle: Path, tmp_path: Path) -> None:
    """It is refused, leaves no torn line and is not counted; sent again it is the prediction's first."""
    labels, row = tmp_path / "labels.jsonl", {"image": np.zeros((8, 8, 1), int).tolist(), "weight": 1, "zone": "north"}
    with (
        running_server(bundle=bundle, arguments=["--feedback-log", str(labels)]) as server,
        server.client() as client,
    ):
        first, second = client.predict_v1([row, row])
        assert client.send_feedback(first["prediction_id"], first["label"]) == "agree"
        before, told = labels.read_bytes(), {"prediction_id": second["prediction_id"], "label": "none", "rating": 4}
        with room_for(server, len(before) + 40):
            for _ in range(2):
                status, headers, _ = client.request("POST", "/feedback", json.dumps(told).encode())
                assert (status, headers["retry-after"]) == (503, "10")
            assert labels.read_bytes() == before
            assert sum(counted(client, "sextant_feedback_total").values()) == 1
        answer = client.request("POST", "/feedback", json.dumps(told).encode())[2]
        assert json.loads(answer)["outcome"] == "disagree"
        assert 'sextant_ratings_total{model="parcels",rating="4",variant="stable",version="3"} 1.0' in (
            client.metrics_text()
        )
    assert [json.loads(line)["label"] for line in labels.read_text().splitlines()] == [first["label"], "none"]


def test_every_worker_says_when_to_send_a_label_again(bundle: Path) -> None:
    """Also for a prediction that another one made; `/dev/full` is a disk without room."""
    with (
        running_server(bundle=bundle, arguments=["--workers", "2", "--feedback-log", "/dev/full"]) as server,
        server.client() as client,
    ):
        ids: dict[str, str] = {}
        while len(ids) < 2:
            with server.client() as other:
                other.infer_binary({"image": np.zeros((1, 8, 8, 1), np.uint8)})
                assert other.prediction_id is not None
                ids[other.prediction_id.partition("-")[0]] = other.prediction_id
        for identifier in ids.values():
            told = json.dumps({"prediction_id": identifier, "label": "light"}).encode()
            status, headers, _ = client.request("POST", "/feedback", told)
            assert (status, headers["retry-after"]) == (503, "10")


def test_a_worker_that_hangs_over_the_log_holds_up_no_other(bundle: Path, tmp_path: Path) -> None:
    """While it keeps the log locked others answer, and say when to send a label again; it is taken afterwards."""
    labels, row = tmp_path / "labels.jsonl", {"image": np.zeros((8, 8, 1), int).tolist(), "weight": 1, "zone": "north"}
    with (
        running_server(bundle=bundle, arguments=["--feedback-log", str(labels)]) as server,
        server.client() as client,
        labels.open("ab") as hanging,
    ):
        (made,) = client.predict_v1([row])
        told = json.dumps({"prediction_id": made["prediction_id"], "label": made["label"]}).encode()
        fcntl.flock(hanging, fcntl.LOCK_EX)
        status, headers, _ = client.request("POST", "/feedback", told)
        assert (status, headers["retry-after"]) == (503, "10")
        assert client.ready()
        assert labels.read_bytes() == b""
        fcntl.flock(hanging, fcntl.LOCK_UN)
        assert json.loads(client.request("POST", "/feedback", told)[2])["outcome"] == "agree"
    assert labels.read_bytes().count(b"\n") == 1
