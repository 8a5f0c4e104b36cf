"""Servers' logs on their way: each file and line once in the store, and of a window all of it back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fsspec
import pytest
from tests.object_store import object_store

from sextant_components.deployment.store_backups import StoreFailed
from sextant_components.monitoring.log_store import fetch_logs, ship_logs
from sextant_monitoring.launcher import TimeWindow

HOUR = 3600.0
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
WINDOW = TimeWindow(NOON.timestamp(), NOON.timestamp() + HOUR)
LATE = NOON.timestamp() + 30 * HOUR


@pytest.fixture
def address() -> Iterator[str]:
    """A place in fsspec's store in memory."""
    base = f"memory://{uuid.uuid4().hex}"
    yield f"{base}/parcels"
    if fsspec.filesystem("memory").exists(base):
        fsspec.filesystem("memory").rm(base, recursive=True)


def completed(pod: Path, begun: datetime) -> str:
    """Have the server of a pod complete a prediction file that it began at a time; return its name."""
    name = f"{begun:%Y%m%dT%H%M%SZ}-1-{os.urandom(4).hex()}-000001.parquet"
    (pod / "predictions").mkdir(parents=True, exist_ok=True)
    (pod / "predictions" / name).write_bytes(name.encode())
    return name


def received(pod: Path, text: str) -> Path:
    """Append to a pod's feedback log, which is named for the pod."""
    log = pod / "feedback" / f"{pod.name}.jsonl"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        file.write(text)
    return log


def feedback(folder: Path) -> str:
    return "".join(path.read_text("utf-8") for path in sorted((folder / "feedback").glob("*.jsonl")))


def test_a_window_of_several_pods_comes_back_whole_and_alone(address: str, tmp_path: Path) -> None:
    """Across midnight too; what the fetch before had of another window is gone."""
    midnight = TimeWindow(NOON.timestamp() + 12 * HOUR, NOON.timestamp() + 13 * HOUR)
    wanted, others = set(), set()
    for pod in (tmp_path / "blue-1", tmp_path / "green-1"):
        wanted |= {completed(pod, NOON + timedelta(hours=12, minutes=each)) for each in (-1, 0, 59)}
        others |= {completed(pod, NOON + timedelta(hours=each)) for each in (0, 14, 36)}
        received(pod, f"{pod.name}\n")
        ship_logs(pod, address, now=lambda: NOON + timedelta(hours=20))
    fetch_logs(address, tmp_path / "here", [WINDOW], now=LATE)
    assert {path.name for path in (tmp_path / "here" / "predictions").iterdir()} < others
    fetch_logs(address, tmp_path / "here", [midnight], now=LATE)
    assert {path.name for path in (tmp_path / "here" / "predictions").iterdir()} == wanted
    assert feedback(tmp_path / "here") == "blue-1\ngreen-1\n"


def test_what_is_in_the_store_is_not_shipped_again(address: str, tmp_path: Path) -> None:
    """A prediction file leaves the pod's disk; of the feedback log, which the server goes on writing, new lines go."""
    pod = tmp_path / "blue-1"
    completed(pod, NOON)
    log = received(pod, "one\ntwo\n")
    assert ship_logs(pod, address, now=lambda: NOON) == 2
    assert ship_logs(pod, address, now=lambda: NOON) == 0
    assert list((pod / "predictions").iterdir()) == []
    received(pod, "three\n")
    assert ship_logs(pod, address, now=lambda: NOON) == 1
    assert log.read_text("utf-8") == "one\ntwo\nthree\n"
    fetch_logs(address, tmp_path / "here", [WINDOW], now=LATE)
    assert feedback(tmp_path / "here") == "one\ntwo\nthree\n"


def test_a_line_that_is_being_written_waits_for_its_end(address: str, tmp_path: Path) -> None:
    """Whoever reads the store finds whole lines only."""
    pod = tmp_path / "blue-1"
    received(pod, "one\ntw")
    ship_logs(pod, address, now=lambda: NOON)
    received(pod, "o\n")
    ship_logs(pod, address, now=lambda: NOON)
    fetch_logs(address, tmp_path / "here", [WINDOW], now=LATE)
    pieces = sorted(path.read_text("utf-8") for path in (tmp_path / "here" / "feedback").iterdir())
    assert pieces == ["one\n", "two\n"]


def test_files_stay_on_the_pod_until_the_store_has_them(tmp_path: Path) -> None:
    """HTTP takes no files."""
    pod = tmp_path / "blue-1"
    name = completed(pod, NOON)
    with pytest.raises(StoreFailed, match="Check the address"):
        ship_logs(pod, "http://127.0.0.1:9/logs")
    assert [path.name for path in (pod / "predictions").iterdir()] == [name]


def test_an_unfinished_file_of_a_server_is_left_to_it(address: str, tmp_path: Path) -> None:
    pod = tmp_path / "blue-1"
    (pod / "predictions").mkdir(parents=True)
    (pod / "predictions" / "20260301T120000Z-1-aa-000001.parquet.part").write_bytes(b"half")
    assert ship_logs(pod, address) == 0
    assert [path.suffix for path in (pod / "predictions").iterdir()] == [".part"]


@pytest.mark.servers
def test_a_pod_that_is_told_to_stop_ships_what_its_server_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the command of the manifests, into a real object store; a bucket that is not there is an error."""
    pod = tmp_path / "blue-1"
    received(pod, "early\n")
    with object_store(tmp_path / "s3", "logs") as store:
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        command = [sys.executable, "-m", "sextant_pipelines.cli", "logs", "ship", str(pod), "s3://logs/parcels"]
        process = subprocess.Popen([*command, "--every", "3600"])
        try:
            while not (pod / "feedback" / "blue-1.jsonl.shipped").exists():
                assert process.poll() is None
                time.sleep(0.05)
            name = completed(pod, NOON)
            received(pod, "late\n")
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()
        fetch_logs("s3://logs/parcels", tmp_path / "here", [WINDOW], now=datetime.now(UTC).timestamp())
        assert [path.name for path in (tmp_path / "here" / "predictions").iterdir()] == [name]
        assert feedback(tmp_path / "here") == "early\nlate\n"
        with pytest.raises(StoreFailed):
            fetch_logs("s3://lost/parcels", tmp_path / "here", [WINDOW], now=LATE)
        completed(pod, NOON)
        with pytest.raises(StoreFailed):
            ship_logs(pod, "s3://lost/parcels")
        assert len(list((pod / "predictions").iterdir())) == 1
