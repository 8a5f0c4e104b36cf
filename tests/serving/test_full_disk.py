"""A disk that is full for a while: what is lost is counted or refused, and the logs go on once there is room."""

from __future__ import annotations

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
