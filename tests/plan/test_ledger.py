"""The ledger: append-only, chained, safe against crashes and company, equal for equal evidence."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sextant_plan.errors import LedgerCorrupt
from sextant_plan.ledger import (
    NOT_IDENTITY,
    ArtifactStore,
    LedgerWriter,
    Origin,
    Record,
    criterion_hash,
    finished,
    read_attempt,
    read_run,
)
from sextant_plan.schema import Criterion
from sextant_plan.verdicts import Estimate, Verdict

ORIGIN = Origin("run-1", "sha256:" + "a" * 64, "0.1.0+abc", "local")
ELSEWHERE = Origin("run-2", ORIGIN.plan_hash, "0.2.0+def", "registry/train@sha256:1")
ACCURACY = Criterion(id="accuracy", metric="accuracy", at_least=0.9)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.none() | st.booleans() | NUMBERS | st.text(max_size=20) | st.dictionaries(st.text(max_size=5), NUMBERS)


def write(ledger: LedgerWriter, task: str = "rows", value: Any = 3, verdict: Verdict = Verdict.PASS) -> Record:
    """Append one plain record."""
    return ledger.record(
        task, requirement="rows exist", risk="nothing to learn", qa_method="count", value=value, verdict=verdict
    )


def write_attempt(run: Path, *, origin: Origin = ORIGIN, values: tuple[Any, ...] = (1, "two", {"three": 3.5})) -> Path:
    """Write one finished attempt of `ingest` and return its file."""
    with LedgerWriter(run, "ingest", "data", origin) as ledger:
        for number, value in enumerate(values):
            write(ledger, f"task-{number}", value)
        ledger.record(
            "accuracy",
            requirement="right often enough",
            risk="wrong labels",
            qa_method="sealed split",
            verdict=Verdict.PASS,
            estimate=Estimate(0.95, 0.93, 0.97, 400, 0.95),
            criterion=ACCURACY,
            artifacts={"rows.json": ledger.artifacts.put_json([1, 2])},
        )
    return ledger.path


@pytest.fixture(scope="module")
def attempt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One finished attempt; a test that damages it puts it back."""
    return write_attempt(tmp_path_factory.mktemp("attempt"))


@given(values=st.lists(JSON, max_size=5))
@settings(max_examples=15, deadline=None)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, values: list[Any]) -> None:
    """Every JSON value comes back equal, in order, and a clean exit adds the closing record."""
    run = tmp_path_factory.mktemp("run")
    records = read_attempt(write_attempt(run, values=tuple(values)))
    assert [record.value for record in records[: len(values)]] == values
    assert [record.seq for record in records] == list(range(len(values) + 2))
    assert finished(records)
    assert records[-2].criterion_hash == criterion_hash(ACCURACY)


def test_an_estimate_fills_value_interval_and_n(tmp_path: Path) -> None:
    """A measured criterion carries its bounds and its number of observations."""
    record = read_attempt(write_attempt(tmp_path))[-2]
    assert (record.value, record.interval, record.n) == (0.95, (0.93, 0.97), 400)


def test_a_bound_that_does_not_exist_is_written_as_null(tmp_path: Path) -> None:
    """Too few requests give a percentile no upper bound; that is evidence too, and it can be read back."""
    with LedgerWriter(tmp_path, "evaluate", "evaluation", ORIGIN) as ledger:
        ledger.record(
            "latency",
            requirement="fast",
            risk="slow",
            qa_method="order statistics",
            verdict=Verdict.UNKNOWN,
            estimate=Estimate(12.0, 9.0, math.inf, 20, 0.95),
        )
        ledger.record(
            "gap",
            requirement="fair",
            risk="unfair",
            qa_method="bootstrap",
            verdict=Verdict.UNKNOWN,
            estimate=Estimate(math.nan, -math.inf, math.inf, 0, 0.95),
        )
    first, second, _ = read_attempt(ledger.path)
    assert (first.value, first.interval) == (12.0, (9.0, None))
    assert (second.value, second.interval) == (None, (None, None))


@given(position=st.integers(min_value=0), flip=st.integers(1, 255))
@settings(max_examples=300, deadline=None)
def test_a_changed_byte_is_found(attempt: Path, position: int, flip: int) -> None:
    """No byte can be changed unseen, except what the last record says of its own origin.

    The conclusion seals that rest by the file's digest. A last line that lost its end counts as a crash.
    """
    whole, stored = read_attempt(attempt), attempt.read_bytes()
    data = bytearray(stored)
    data[position % len(data)] ^= flip
    attempt.write_bytes(bytes(data))
    try:
        read = read_attempt(attempt)
    except LedgerCorrupt:
        return
    finally:
        attempt.write_bytes(stored)
    assert read[: len(whole) - 1] == whole[:-1]
    if finished(read):
        assert without_origin(read[-1]) == without_origin(whole[-1])


def without_origin(record: Record) -> dict[str, Any]:
    """Return what the record's own id binds."""
    return record.model_dump(mode="json", exclude=set(NOT_IDENTITY))


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda lines: lines[1:], id="first record removed"),
        pytest.param(lambda lines: [lines[0], *lines[2:]], id="middle record removed"),
        pytest.param(lambda lines: [lines[1], lines[0], *lines[2:]], id="records swapped"),
        pytest.param(lambda lines: [lines[0], *lines], id="record repeated"),
        pytest.param(lambda lines: [lines[0], b"\n", *lines[1:]], id="blank line added"),
        pytest.param(lambda lines: [lines[0].replace(b"{", b"{ ", 1), *lines[1:]], id="space added"),
        pytest.param(lambda lines: [*lines[:-1], lines[-1].replace(b"{", b"{ ", 1)], id="space added at the end"),
        pytest.param(lambda lines: [b"[" * 100_000 + b"\n", *lines], id="nesting bomb"),
        pytest.param(lambda lines: [lines[0].replace(b'"value":1', b'"value":1e999'), *lines[1:]], id="infinite value"),
        pytest.param(lambda lines: [b"\xff\xfe\n", *lines], id="not text"),
    ],
)
def test_a_rearranged_ledger_is_refused(tmp_path: Path, damage: Any) -> None:
    """The chain tells where it breaks, by file and line."""
    path = write_attempt(tmp_path)
    path.write_bytes(b"".join(damage(path.read_bytes().splitlines(keepends=True))))
    with pytest.raises(LedgerCorrupt, match=rf"{path.name}:\d+: "):
        read_attempt(path)


@given(cut=st.integers(0, 4000))
@settings(max_examples=60, deadline=None)
def test_a_crash_in_mid_write_loses_only_the_torn_line(attempt: Path, cut: int) -> None:
    """Whatever the length that reached the disk, the whole lines before it are read and the step is unfinished."""
    whole, stored = read_attempt(attempt), attempt.read_bytes()
    torn = stored[: min(cut, len(stored) - 1)]
    attempt.write_bytes(torn)
    read = read_attempt(attempt)
    attempt.write_bytes(stored)
    assert read == whole[: torn.count(b"\n")]
    assert not finished(read)


def test_an_exception_leaves_the_attempt_open(tmp_path: Path) -> None:
    """A step that raises keeps its records and gets no closing one."""

    def crash() -> None:
        with LedgerWriter(tmp_path, "train", "model engineering", ORIGIN) as ledger:
            write(ledger)
            raise RuntimeError("the device was lost")

    with pytest.raises(RuntimeError, match="lost"):
        crash()
    assert not finished(read_run(tmp_path)["train"])
    assert [record.task for record in read_run(tmp_path)["train"]] == ["rows"]


def test_the_last_finished_attempt_counts(tmp_path: Path) -> None:
    """A retry that finished replaces a crash, and a later crash does not replace it."""
    LedgerWriter(tmp_path, "ingest", "data", ORIGIN)._file.close()
    write_attempt(tmp_path, values=("second",))
    crashed = LedgerWriter(tmp_path, "ingest", "data", ORIGIN)
    write(crashed, "third")
    crashed._file.close()
    assert read_run(tmp_path)["ingest"][0].value == "second"
    assert sorted(path.name for path in (tmp_path / "ledger").iterdir()) == [
        "ingest-1.jsonl",
        "ingest-2.jsonl",
        "ingest-3.jsonl",
    ]


def test_the_tenth_attempt_comes_after_the_ninth(tmp_path: Path) -> None:
    """Attempts are ordered as numbers, not as text."""
    for number in range(1, 12):
        write_attempt(tmp_path, values=(number,))
    assert read_run(tmp_path)["ingest"][0].value == 11


def test_writers_at_the_same_time_never_share_a_file(tmp_path: Path) -> None:
    """Sixteen threads that open one step at once write sixteen whole attempts."""
    barrier = threading.Barrier(16)

    def write_one() -> None:
        barrier.wait()
        write_attempt(tmp_path)

    threads = [threading.Thread(target=write_one) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    files = sorted((tmp_path / "ledger").iterdir())
    assert len(files) == 16
    assert all(finished(read_attempt(path)) for path in files)
    assert {read_attempt(path)[0].attempt for path in files} == set(range(1, 17))


WRITE_FOREVER = """
import sys
from pathlib import Path
from sextant_plan.ledger import LedgerWriter, Origin
from sextant_plan.verdicts import Verdict

origin = Origin("run-1", "sha256:" + "a" * 64, "0.1.0+abc", "local")
with LedgerWriter(Path(sys.argv[1]), "train", "model engineering", origin) as ledger:
    for number in range(int(sys.argv[2])):
        artifact = ledger.artifacts.put_bytes(b"shared" if number % 2 else str(number).encode())
        ledger.record(
            f"task-{number}", requirement="r" * 3000, risk="r", qa_method="q",
            verdict=Verdict.PASS, artifacts={"a": artifact},
        )
        print(f"{number:0100}", flush=True)  # a pipe takes some 650 of these before the writer has to wait
"""


def test_processes_killed_in_mid_write_lose_nothing_that_they_said_was_written(tmp_path: Path) -> None:
    """Three processes write one step at once and get SIGKILL; a fourth comes to its end.

    What a process reported is in its file, whole and chained, with every artifact; the finished attempt counts.
    """
    command = [sys.executable, "-c", WRITE_FOREVER, str(tmp_path)]
    killed = [subprocess.Popen([*command, "1000000"], stdout=subprocess.PIPE) for _ in range(3)]
    reported = []
    for process in killed:
        assert process.stdout is not None
        for _ in range(8):
            process.stdout.readline()
        process.kill()
        rest = process.stdout.read().splitlines(keepends=True)
        process.wait()
        process.stdout.close()
        reported.append(8 + sum(line.endswith(b"\n") for line in rest))
    subprocess.run([*command, "3"], check=True, stdout=subprocess.DEVNULL)

    attempts = sorted((tmp_path / "ledger").iterdir())
    read = [read_attempt(path) for path in attempts]
    store = ArtifactStore(tmp_path)
    assert len(attempts) == 4
    torn = sorted(len(records) for records in read if not finished(records))
    assert all(found >= said for found, said in zip(torn, sorted(reported), strict=True))
    assert all(store.read_bytes(digest) for records in read for each in records for digest in each.artifacts.values())
    assert [record.task for record in read_run(tmp_path)["train"]][:3] == ["task-0", "task-1", "task-2"]
    assert finished(read_run(tmp_path)["train"])


def test_two_runs_with_the_same_evidence_have_the_same_ids(tmp_path: Path) -> None:
    """Run, time, code, image and attempt do not enter a record's id; what was measured does."""
    first = read_attempt(write_attempt(tmp_path / "a"))
    write_attempt(tmp_path / "b", origin=ELSEWHERE)
    second = read_attempt(write_attempt(tmp_path / "b", origin=ELSEWHERE))
    other = read_attempt(write_attempt(tmp_path / "c", values=(1, "two", {"three": 3.6})))
    assert [record.id for record in first] == [record.id for record in second]
    assert [a.id == b.id for a, b in zip(first, other, strict=True)] == [True, True, False, True, True]


def test_the_step_verdict_is_the_worst_that_counts(tmp_path: Path) -> None:
    """A record that only informs leaves the closing verdict alone; one that judges decides it."""
    with LedgerWriter(tmp_path, "verify", "data", ORIGIN) as ledger:
        write(ledger, verdict=Verdict.PASS)
        ledger.record("note", requirement="", risk="", qa_method="", verdict=Verdict.FAIL, counts=False)
        assert ledger.verdict is Verdict.PASS
        write(ledger, verdict=Verdict.UNKNOWN)
    assert read_attempt(ledger.path)[-1].verdict is Verdict.UNKNOWN


def test_one_artifact_can_be_stored_by_many_at_once(tmp_path: Path) -> None:
    """Eight threads that store the same bytes, again and again in new stores, all get their digest."""
    stores = [ArtifactStore(tmp_path / str(number)) for number in range(40)]
    barrier, digests = threading.Barrier(8, timeout=10), []

    def put() -> None:
        for store in stores:
            barrier.wait()
            digests.append(store.put_bytes(b"evidence" * 10_000))

    threads = [threading.Thread(target=put) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(digests) == 320
    assert {stores[0].read_bytes(digest) for digest in set(digests)} == {b"evidence" * 10_000}
    assert [path.name for path in (tmp_path / "0" / "artifacts" / "sha256").iterdir()] == [digests[0][7:]]


def test_an_artifact_that_changed_is_refused(tmp_path: Path) -> None:
    """An artifact is read only if it is what was stored."""
    store = ArtifactStore(tmp_path)
    digest = store.put_bytes(b"evidence")
    assert store.put_bytes(b"evidence") == digest
    assert store.read_bytes(digest) == b"evidence"
    store.path(digest).write_bytes(b"evidenze")
    with pytest.raises(LedgerCorrupt, match="not what was stored"):
        store.read_bytes(digest)
    store.path(digest).unlink()
    with pytest.raises(LedgerCorrupt, match="absent"):
        store.read_bytes(digest)
