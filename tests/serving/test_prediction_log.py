"""The prediction log: what is written, what is not, and that a crash or a full disk costs rows and nothing else."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sextant_plan.bundle import BundleSpec, read_bundle
from sextant_plan.prediction_log import COLUMNS, PICTURE_MEASURES, SCHEMA_KEY
from sextant_plan.reference import read_reference
from sextant_plan.schema import PredictionLog as LogSettings
from sextant_serving import prediction_log
from sextant_serving.batching import Traffic
from sextant_serving.codec_v2 import rows_of as rows_of_tensors
from sextant_serving.errors import LogKeyMissing
from sextant_serving.fleet import Fleet
from sextant_serving.launch import ServerDidNotStart, running_server
from sextant_serving.lineup import Lineup
from sextant_serving.loading import Source
from sextant_serving.log_columns import Entry, LogColumns
from sextant_serving.log_files import UNFINISHED, LogFiles
from sextant_serving.metrics import ModelMetrics
from sextant_serving.picture_measures import measured
from sextant_serving.prediction_log import REQUESTS_A_TURN, ModelLog, PredictionLog
from sextant_serving.rows import Answer, Rows, Signature
from sextant_serving.tensors import TensorHead, read_tensors

MakeBundle = Callable[..., Path]
LABELS = ("parcels", "3", "stable")
KEY = b"a secret"


def spec_of(bundle: Path, **log: Any) -> BundleSpec:
    """Return the bundle's description with these log settings and an entity."""
    spec = read_bundle(bundle)
    serving = spec.serving.model_copy(update={"log": LogSettings(**{"sample": 1.0, **log})})
    return spec.model_copy(update={"serving": serving, "entity": "parcel_id"})


def answered(*best: int, abstained: tuple[int, ...] = ()) -> Answer:
    """Return an answer of these classes, abstaining in the named rows."""
    gone = np.isin(np.arange(len(best)), abstained)
    reasons = ["low-confidence" if row else None for row in gone]
    return Answer((np.eye(3)[list(best)] * 0.75).astype(np.float32), np.array(best), gone, reasons)


def rows_of(*weights: float, zone: float = 1.0) -> Rows:
    """Return rows with these weights in one zone, and a picture that must not be kept."""
    count = len(weights)
    sent = np.array([[weight, zone] for weight in weights], np.float32)
    keys = [f"P-{row}" for row in range(count)]
    return Rows(count, image=np.zeros((count, 8, 8, 1), np.uint8), sent=sent, keys=keys)


def metrics_of(bundle: Path) -> ModelMetrics:
    """Return counters at zero."""
    return ModelMetrics(read_bundle(bundle), read_reference(bundle / "reference.json"), LABELS)


def write(bundle: Path, directory: Path, spec: BundleSpec, requests: int = 1) -> ModelMetrics:
    """Log the same two-row request some times and close; returns the counters."""
    metrics = metrics_of(bundle)

    async def run() -> None:
        log = PredictionLog(directory, KEY)
        model = log.of(spec, metrics)
        assert model is not None
        for number in range(requests):
            ids = [f"{number}.0", f"{number}.1"]
            model.offer(ids, "unit", answered(2, 0, abstained=(1,)), rows_of(1.5, 2.5), 0.25)
        await asyncio.get_running_loop().run_in_executor(None, log.close)
        await asyncio.sleep(0)

    asyncio.run(run())
    return metrics


def test_rows_are_read_by_duckdb_and_polars(bundle: Path, tmp_path: Path) -> None:
    """Every answered row is there with its fallback, and with the inputs that the plan names and no other."""
    import duckdb
    import polars as pl

    spec = spec_of(bundle, columns=["zone"], hashed=["parcel_id"])
    assert write(bundle, tmp_path, spec).log_rows == {"written": 2, "dropped": 0}
    table = pl.read_parquet(tmp_path / "*.parquet")
    assert table.columns == [*COLUMNS, "input.zone", "input.parcel_id"]
    first, second = table.to_dicts()
    assert (first["label"], second["label"]) == ("medium", None)
    assert (first["fallback"], second["fallback"]) == (None, "low-confidence")
    assert (first["probability"], first["seconds"], first["assignment"]) == (0.75, 0.25, "unit")
    assert (first["model"], first["version"], first["variant"]) == LABELS
    assert first["input.zone"] == "south"
    assert first["input.parcel_id"] != second["input.parcel_id"]
    assert "P-0" not in str(first)
    found = duckdb.execute(f"select prediction_id from read_parquet('{tmp_path}/*.parquet') where abstained").fetchall()
    assert found == [("0.1",)]


def test_pictures_leave_four_numbers_where_the_plan_asks_for_them(bundle: Path, tmp_path: Path) -> None:
    """They are those that verification measures, of a black picture here; the picture itself is never written."""
    import polars as pl

    write(bundle, tmp_path, spec_of(bundle, pictures=True))
    table = pl.read_parquet(tmp_path / "*.parquet")
    assert table.columns == [*COLUMNS, *PICTURE_MEASURES]
    expected = measured(np.zeros((2, 16, 16), np.uint8)).T
    np.testing.assert_array_equal(table.select(PICTURE_MEASURES).to_numpy(), expected)
    blank = Rows(1, features=np.zeros((1, 2), np.float32))
    columns = LogColumns(spec_of(bundle, pictures=True), LABELS, KEY)
    batch = columns.batch([Entry(0.0, 0.0, ["a"], "only", answered(0), blank)])
    assert np.isnan(batch.column("picture.sharpness")[0].as_py())


def test_a_digest_is_the_same_for_the_same_key_and_another_for_another(bundle: Path) -> None:
    """Digests join logs of servers that share the key, and tell nothing without it."""
    spec = spec_of(bundle, hashed=["weight"])

    def digest(key: bytes, weight: float) -> object:
        columns = LogColumns(spec, LABELS, key)
        batch = columns.batch([Entry(0.0, 0.0, ["a"], "only", answered(0), rows_of(weight))])
        return batch.column("input.weight")[0].as_py()

    assert digest(KEY, 1.5) == digest(KEY, 1.5)
    assert len({digest(KEY, 1.5), digest(KEY, 2.5), digest(b"other", 1.5)}) == 3


def test_without_a_key_no_digest_is_made(bundle: Path, tmp_path: Path) -> None:
    """A plan that wants digests does not start without the key, and the message names the variable."""

    async def run() -> None:
        log = PredictionLog(tmp_path, None)
        with pytest.raises(LogKeyMissing, match=r"parcel_id.*SEXTANT_LOG_KEY"):
            log.of(spec_of(bundle, hashed=["parcel_id"]), metrics_of(bundle))
        log.close()

    asyncio.run(run())


def test_the_sample_is_the_plans(bundle: Path, tmp_path: Path) -> None:
    """A quarter of 2000 requests, within six standard errors; nothing at 0."""
    metrics = write(bundle, tmp_path, spec_of(bundle, sample=0.25), requests=2000)
    assert abs(metrics.log_rows["written"] / 4000 - 0.25) < 6 * np.sqrt(0.25 * 0.75 / 2000)
    assert metrics.log_rows["dropped"] == 0


def hang_disk(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Hold up every append; returns what is set when the first is held up, and what lets them go on."""
    hanging, go_on = threading.Event(), threading.Event()
    append = LogFiles.append

    def hang(self: LogFiles, *arguments: Any) -> None:
        hanging.set()
        go_on.wait()
        append(self, *arguments)

    monkeypatch.setattr(LogFiles, "append", hang)
    return hanging, go_on


def test_a_writer_that_is_behind_drops_and_counts(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a disk that hangs, requests go on: what the bounded queue cannot take is counted."""
    monkeypatch.setattr(prediction_log, "QUEUED_REQUESTS", 10)
    hanging, go_on = hang_disk(monkeypatch)
    metrics = metrics_of(bundle)

    async def run() -> None:
        log = PredictionLog(tmp_path, KEY)
        model = log.of(spec_of(bundle), metrics)
        assert model is not None
        model.offer(["first"], "only", answered(0), rows_of(1.0), 0.0)
        await asyncio.get_running_loop().run_in_executor(None, hanging.wait)
        for number in range(25):
            model.offer([str(number)], "only", answered(0), rows_of(1.0), 0.0)
        assert metrics.log_rows["dropped"] == 15
        go_on.set()
        await asyncio.get_running_loop().run_in_executor(None, log.close)
        await asyncio.sleep(0)

    asyncio.run(run())
    assert metrics.log_rows == {"written": 11, "dropped": 15}


def test_a_queue_behind_a_hanging_disk_keeps_no_body_alive(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tensors of a binary request are views of its body; what waits for the disk is not, and is written whole."""
    import polars as pl

    hanging, go_on = hang_disk(monkeypatch)
    spec = spec_of(bundle, columns=["weight"])
    sizes = {"image": 64, "features": 8}
    shapes = {"image": ("UINT8", [1, 8, 8, 1]), "features": ("FP32", [1, 2])}
    heads = [TensorHead(name, *shapes[name], size, None) for name, size in sizes.items()]
    body = bytearray(64) + np.array([2.5, 1.0], "<f4").tobytes()

    def offer(model: ModelLog) -> None:
        rows = rows_of_tensors(read_tensors(heads, memoryview(body)), Signature(spec))
        model.offer(["second"], "only", answered(0), rows, 0.0)

    async def run() -> None:
        log = PredictionLog(tmp_path, KEY)
        model = log.of(spec, metrics_of(bundle))
        assert model is not None
        model.offer(["first"], "only", answered(0), rows_of(1.0), 0.0)
        await asyncio.get_running_loop().run_in_executor(None, hanging.wait)
        try:
            offer(model)
            body.clear()  # raises BufferError while anything is a view of it
        finally:
            go_on.set()
            await asyncio.get_running_loop().run_in_executor(None, log.close)

    asyncio.run(run())
    written = pl.read_parquet(tmp_path / "*.parquet").sort("prediction_id")
    assert written["input.weight"].to_list() == [1.0, 2.5]


def test_files_are_rotated_by_rows_and_the_oldest_go(bundle: Path, tmp_path: Path) -> None:
    """A full file is finished at once; what is too old goes, then the oldest beyond the size."""
    columns = LogColumns(spec_of(bundle), LABELS, None)
    settled: list[tuple[Any, str, int]] = []
    files = LogFiles(tmp_path, lambda *told: settled.append(told), rows_a_file=4)
    for number in range(6):
        files.append(
            columns,
            columns.batch([Entry(0.0, 0.0, [f"{number}a", f"{number}b"], "only", answered(0, 1), rows_of(1, 2))]),
            number % 4,
        )
    finished = sorted(tmp_path.glob("*.parquet"))
    assert len(finished) == 3
    assert settled == [(owner, "written", 2) for owner in (0, 1, 2, 3, 0, 1)]
    for age, path in enumerate(reversed(finished)):
        os.utime(path, (1e9 - age, 1e9 - age))
    one = finished[0].stat().st_size
    files.prune(float("inf"), int(2.5 * one))
    assert sorted(tmp_path.glob("*.parquet")) == finished[1:]
    crashed = tmp_path / f"crashed.parquet{UNFINISHED}"
    crashed.touch()
    os.utime(crashed, (1e9, 1e9))
    LogFiles(tmp_path, print).prune(60.0, 1 << 40)
    assert not list(tmp_path.iterdir())


def test_the_champions_plan_says_how_much_and_how_long_is_kept(make_bundle: MakeBundle, tmp_path: Path) -> None:
    """Beyond `keep` files go, then the oldest beyond `max_megabytes`; nothing goes before the plan has been read."""
    bundle = make_bundle(serving={"log": {"sample": 1.0, "keep": "90d", "max_megabytes": 2}})
    aged = {days: tmp_path / f"{days}.parquet" for days in (100, 80, 60)}
    for days, path in aged.items():
        path.touch()
        os.truncate(path, 3 << 19)  # a megabyte and a half, of which two are too much
        os.utime(path, (time.time() - days * 86400,) * 2)

    async def run() -> None:
        log = PredictionLog(tmp_path, None)
        fleet = Fleet(Traffic(), engine_threads=1, log=log, record=lambda *_: None)
        await fleet.muster(Lineup(Source(bundle)))
        while aged[80].exists():
            await asyncio.sleep(0.001)
        fleet.stop()
        log.close()

    asyncio.run(run())
    assert sorted(tmp_path.iterdir()) == [aged[60]]


def test_a_file_has_its_name_only_when_it_is_complete(bundle: Path, tmp_path: Path) -> None:
    """Before rotation nothing matches *.parquet; after the age has passed a whole file does."""
    import pyarrow.parquet as pq

    columns = LogColumns(spec_of(bundle), LABELS, None)
    files = LogFiles(tmp_path, print, age_seconds=0.0)
    files.append(columns, columns.batch([Entry(0.0, 0.0, ["a"], "only", answered(0), rows_of(1))]), None)
    assert [path.suffix for path in tmp_path.iterdir()] == [UNFINISHED]
    files.rotate(everything=False)
    (path,) = tmp_path.iterdir()
    assert pq.read_table(path).num_rows == 1
    assert SCHEMA_KEY in pq.read_schema(path).metadata


def test_rows_of_a_file_that_cannot_get_its_name_are_dropped(bundle: Path, tmp_path: Path) -> None:
    """Nobody would read them; each counts with the model that brought it, and the next file is begun."""
    columns, settled = LogColumns(spec_of(bundle), LABELS, None), []
    files = LogFiles(tmp_path / "log", lambda *told: settled.append(told), age_seconds=0.0)
    batch = columns.batch([Entry(0.0, 0.0, ["a"], "only", answered(0), rows_of(1))])
    files.append(columns, batch, "old")
    files.append(columns, batch, "new")
    (tmp_path / "log").rename(tmp_path / "away")
    files.rotate(everything=False)
    assert settled == [("old", "dropped", 1), ("new", "dropped", 1)]
    (tmp_path / "log").mkdir()
    files.append(columns, batch, "new")
    files.rotate(everything=False)
    assert settled[2:] == [("new", "written", 1)]


def test_a_disk_that_stays_full_is_reported_once(
    bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """When it begins and when a file is complete again, whether a file cannot be begun or not be finished."""
    columns, directory = LogColumns(spec_of(bundle), LABELS, None), tmp_path / "log"
    metrics = metrics_of(bundle)

    async def run() -> None:
        log = PredictionLog(directory, KEY)
        model = log.of(spec_of(bundle), metrics)
        assert model is not None
        directory.rmdir()
        for number in range(3 * REQUESTS_A_TURN):
            model.offer([str(number)], "only", answered(0), rows_of(1.0), 0.0)
        while metrics.log_rows["dropped"] < 3 * REQUESTS_A_TURN:
            await asyncio.sleep(0.01)
        directory.mkdir()
        model.offer(["late"], "only", answered(0), rows_of(1.0), 0.0)
        await asyncio.to_thread(log.close)

    asyncio.run(run())
    begun, over = [f"{record.levelname} {record.getMessage()}" for record in caplog.records]
    assert begun.startswith("ERROR the prediction log lost ")
    assert over == "WARNING the prediction log is written again"

    caplog.clear()
    files = LogFiles(directory, lambda *_: None, age_seconds=0.0)
    batch = columns.batch([Entry(0.0, 0.0, ["a"], "only", answered(0), rows_of(1))])
    for _ in range(2):
        files.append(columns, batch, None)
        directory.rename(tmp_path / "away")
        files.rotate(everything=False)
        (tmp_path / "away").rename(directory)
    for _ in range(2):
        files.append(columns, batch, None)
        files.rotate(everything=False)
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


def test_no_fault_of_the_housekeeping_ends_the_log(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that come after an unforeseen one are written."""
    failed = threading.Event()

    def fail(*_: object) -> None:
        failed.set()
        raise ArithmeticError

    monkeypatch.setattr(LogFiles, "prune", fail)
    metrics = metrics_of(bundle)

    async def run() -> None:
        log = PredictionLog(tmp_path, KEY)
        model = log.of(spec_of(bundle), metrics)
        assert model is not None
        log.limit(LogSettings())
        assert await asyncio.to_thread(failed.wait, 60)
        model.offer(["late"], "only", answered(0), rows_of(1.0), 0.0)
        await asyncio.to_thread(log.close)
        await asyncio.sleep(0)

    asyncio.run(run())
    assert metrics.log_rows == {"written": 1, "dropped": 0}


def test_a_label_is_joined_by_its_prediction_id(make_bundle: MakeBundle, tmp_path: Path) -> None:
    """What SIGTERM leaves on disk is whole: each prediction with its label, by DuckDB alone."""
    import duckdb

    bundle = make_bundle(serving={"log": {"sample": 1.0, "columns": ["weight"]}})
    logs, labels = tmp_path / "log", tmp_path / "labels.jsonl"
    arguments = ["--prediction-log", str(logs), "--feedback-log", str(labels)]
    with running_server(bundle=bundle, arguments=arguments) as server, server.client() as client:
        rows = [
            {"image": np.zeros((8, 8, 1), int).tolist(), "weight": weight, "zone": "north"} for weight in (0.5, 9.0)
        ]
        for prediction in client.predict_v1(rows):
            client.send_feedback(prediction["prediction_id"], "heavy")
        assert 'sextant_prediction_log_rows_total{model="parcels",outcome="dropped"' in client.metrics_text()
    joined = duckdb.execute(
        f"select p.\"input.weight\", p.label = f.label from read_parquet('{logs}/*.parquet') p "
        f"join read_json('{labels}') f using (prediction_id) order by 1"
    ).fetchall()
    expected = [json.loads(line)["outcome"] == "agree" for line in labels.read_text().splitlines()]
    assert [weight for weight, _ in joined] == [0.5, 9.0]
    assert sorted(agreed for _, agreed in joined) == sorted(expected)


def test_a_shadows_rows_stand_beside_those_that_they_copy(make_bundle: MakeBundle, tmp_path: Path) -> None:
    """Each has the shadow's variant and version, the assignment `mirror`, and the id of the row that was answered."""
    import polars as pl

    champion, shadow = (make_bundle(version=version, serving={"log": {"sample": 1.0}}) for version in "34")
    row = {"image": np.zeros((8, 8, 1), int).tolist(), "weight": 1.0, "zone": "north"}
    arguments = ["--shadow", f"dark={shadow}:100", "--prediction-log", str(tmp_path)]
    with running_server(bundle=champion, arguments=arguments) as server, server.client() as client:
        ids = [one["prediction_id"] for one in client.predict_v1([row, row])]
        while 'sextant_requests_total{code="200",model="parcels",variant="dark",version="4"} 1.0' not in (
            client.metrics_text()
        ):
            assert client.ready()
    written = pl.read_parquet(tmp_path / "*.parquet").sort("variant", "prediction_id")
    names = ["variant", "version", "assignment", "prediction_id"]
    copies = [("dark", "4", "mirror", identifier) for identifier in ids]
    assert written.select(names).rows() == [*copies, *(("stable", "3", "only", identifier) for identifier in ids)]


def test_a_killed_server_leaves_no_broken_file(make_bundle: MakeBundle, tmp_path: Path) -> None:
    """After SIGKILL what has the name of a log file can be read; the unfinished one does not match."""
    bundle = make_bundle(serving={"log": {"sample": 1.0}})
    with (
        running_server(bundle=bundle, arguments=["--prediction-log", str(tmp_path)]) as server,
        server.client() as client,
    ):
        client.predict_v1([{"image": np.zeros((8, 8, 1), int).tolist(), "weight": 1.0, "zone": "north"}])
        while not list(tmp_path.iterdir()):
            assert client.ready()
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
    assert [path.suffix for path in tmp_path.iterdir()] == [UNFINISHED]


def test_a_folder_that_cannot_be_made_is_told_with_the_remedy(bundle: Path) -> None:
    """The server does not start, and says which option to change."""
    with pytest.raises(ServerDidNotStart, match=r"/proc/log: cannot be appended to.*--prediction-log") as failure:
        running_server(bundle=bundle, arguments=["--prediction-log", "/proc/log"]).__enter__()
    assert failure.value.returned == 4
