"""Backups: as of one moment, verified by digest, and never over what is there."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sextant_components.data.kept_pictures import store_folder
from sextant_components.data.staged_tables import store_of
from sextant_components.deployment import backup_files, backups
from sextant_components.deployment.backup_files import copy_sqlite
from sextant_components.deployment.backups import (
    BackupDamaged,
    back_up_home,
    restore_home,
    verify_objects,
)
from sextant_components.runs.context import code_version
from sextant_components.runs.source_folder import mirror_folder
from sextant_monitoring.launcher import TimeWindow
from sextant_monitoring.trigger import Request, RequestBook
from sextant_plan.canonical import digest_of_bytes
from sextant_plan.drills import FOLDER as DRILLS
from sextant_plan.drills import STEP as DRILL
from sextant_plan.errors import InfrastructureError, UsageError
from sextant_plan.feedback import FEEDBACK_LOG, FeedbackRecord
from sextant_plan.ledger import LedgerWriter, Origin, read_attempt
from sextant_plan.overrides import Override, binding_overrides, read_overrides, write_override
from sextant_plan.planning import Reopening, planning_reopened, reopen_planning
from sextant_plan.prediction_log import PREDICTION_LOG
from sextant_plan.verdicts import Verdict
from sextant_serving.rollout.files import rollout_folder
from sextant_serving.rollout.state import Wishes
from sextant_serving.whole_lines import WholeLines

PLAN_HASH, CRITERION_HASH = digest_of_bytes(b"plan"), digest_of_bytes(b"criterion")
NOW = datetime(2026, 11, 28, tzinfo=UTC)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a registry, a feature store and one piece of evidence."""
    home = tmp_path / "home"
    repo, evidence = home / "feast" / "parcels", home / "runs" / "r1" / "artifacts" / "sha256"
    for folder in (repo, evidence, home / "mlartifacts"):
        folder.mkdir(parents=True)
    for path in (home / "mlflow.db", repo / "online.db"):
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("create table rows (number integer)")
            database.execute("insert into rows values (1)")
    (evidence / hashlib.sha256(b"proof").hexdigest()).write_bytes(b"proof")
    (home / "runs" / "r1" / "run.json").write_text("{}")
    (home / "active.json").write_text("{}")
    return home


def numbers(path: Path) -> list[int]:
    """The rows of a database of these tests."""
    with closing(sqlite3.connect(path)) as database:
        return [number for (number,) in database.execute("select number from rows order by number")]


def test_a_home_comes_back_as_it_was(home: Path, tmp_path: Path) -> None:
    """Every file of it but locks."""
    (home / "runs" / "r1" / ".lock").touch()
    back_up_home(home, tmp_path / "backup")
    shutil.rmtree(home)
    assert restore_home(tmp_path / "backup") == home
    found = {str(path.relative_to(home)) for path in home.rglob("*.*")}
    assert {"mlflow.db", "active.json", "feast/parcels/online.db", "runs/r1/run.json"} <= found
    assert not any(name.endswith(".lock") for name in found)
    assert numbers(home / "feast" / "parcels" / "online.db") == [1]
    assert verify_objects(home) == 1


def label(number: int) -> bytes:
    """A line of the feedback log."""
    told = FeedbackRecord(
        prediction_id=str(number), label="mug", predicted="mug", outcome="agree",
        model="parcels", version="1", variant="stable", received=NOW.timestamp(),
    )  # fmt: skip
    return told.model_dump_json().encode() + b"\n"


def append(log: Path, lines: bytes) -> None:
    """Write to a feedback log as a server does."""
    with closing(WholeLines(log)) as file:
        file.append(lines)


def restored(home: Path, backup: Path) -> Path:
    """Back the home up, lose it, and bring it back."""
    back_up_home(home, backup)
    shutil.rmtree(home)
    return restore_home(backup)


def test_what_people_and_servers_recorded_comes_back(home: Path, tmp_path: Path) -> None:
    """A reopened plan refuses as before, overrides hold, and no drill, request, wish, prediction or label is lost."""
    reopening = Reopening(plan="p", plan_hash=PLAN_HASH, criterion="drift", requests=["r1"], time=NOW.timestamp())
    reopen_planning(home, reopening)
    override = Override(
        plan_hash=PLAN_HASH, criterion="speed", criterion_hash=CRITERION_HASH, person="lead", reason="one more week",
        created=NOW, expires=NOW + timedelta(days=7),
    )  # fmt: skip
    write_override(home, override)
    request = Request(request_id="r1", plan_hash=PLAN_HASH, criterion="drift", window=(0, 60), accepted=61)
    book = RequestBook(home / "trigger" / "parcels")
    book.claim(request)
    book.mark_started("r1")
    book.note_failed("drift", TimeWindow(0, 60))
    rollout = rollout_folder(home, "parcels")
    rollout.path.mkdir(parents=True)
    rollout.wish(lambda wishes: wishes.model_copy(update={"paused": True}))
    with LedgerWriter(
        home / DRILLS / "d1", DRILL, "monitoring", Origin("d1", PLAN_HASH, code_version(), "local")
    ) as held:
        held.record("drill", requirement="", risk="", qa_method="", verdict=Verdict.PASS)
    (home / PREDICTION_LOG).mkdir()
    (home / PREDICTION_LOG / "1.parquet").write_bytes(b"rows")
    append(home / FEEDBACK_LOG, label(1) + label(2))
    again = restored(home, tmp_path / "backup")
    assert planning_reopened(again, PLAN_HASH) == reopening
    assert binding_overrides(read_overrides(again), PLAN_HASH, NOW) == {CRITERION_HASH: override}
    book = RequestBook(again / "trigger" / "parcels")
    assert (book.requests(), book.is_started("r1"), list(book.failed("drift"))) == (
        [request],
        True,
        [TimeWindow(0, 60)],
    )
    assert rollout_folder(again, "parcels").wishes() == Wishes(paused=True)
    assert read_attempt(again / DRILLS / "d1" / "ledger" / f"{DRILL}-1.jsonl")[0].verdict is Verdict.PASS
    assert (again / PREDICTION_LOG / "1.parquet").read_bytes() == b"rows"
    assert (again / FEEDBACK_LOG).read_bytes() == label(1) + label(2)


def test_a_log_that_is_written_meanwhile_is_copied_up_to_its_last_whole_line(home: Path, tmp_path: Path) -> None:
    """A server that goes on writing after a restore begins a line of its own, and the ledger's chain still holds."""
    (home / FEEDBACK_LOG).write_bytes(label(1) + label(2)[:20])
    ledger = home / "runs" / "r1" / "ledger" / "train-1.jsonl"
    ledger.parent.mkdir()
    ledger.write_bytes(b'{"whole": 1}\n{"whole": 2}\n{"to')
    (home / "runs" / "r1" / "fixes.jsonl").write_bytes(b"somebody's own file, without a line feed")
    again = restored(home, tmp_path / "backup")
    append(again / FEEDBACK_LOG, label(3))
    assert (again / FEEDBACK_LOG).read_bytes() == label(1) + label(3)
    assert (again / ledger.relative_to(home)).read_bytes() == b'{"whole": 1}\n{"whole": 2}\n'
    assert (again / "runs" / "r1" / "fixes.jsonl").read_bytes().endswith(b"line feed")


@pytest.mark.parametrize("lines", [0, 1, 3])
def test_the_end_of_lines_is_found_across_the_pieces_that_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: int
) -> None:
    """Whole lines are never taken for half ones, however long they are."""
    monkeypatch.setattr(backup_files, "CHUNK_BYTES", 4)
    whole = b"0123456789\n" * lines
    (tmp_path / FEEDBACK_LOG).write_bytes(whole + b"0123456")
    backup_files.copy_file(tmp_path / FEEDBACK_LOG, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == whole


def test_a_backup_that_is_killed_in_a_file_is_gone_on_with(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it left of the file is neither taken for the object nor restored."""
    copy2 = shutil.copy2

    def killed(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes()[:2])
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copy2", killed)
    with pytest.raises(KeyboardInterrupt):
        back_up_home(home, tmp_path / "backup")
    assert verify_objects(tmp_path / "backup") == 0
    monkeypatch.setattr(shutil, "copy2", copy2)
    again = restored(home, tmp_path / "backup")
    assert verify_objects(again) == 1
    assert not [path for path in again.rglob("*") if path.name.startswith(".")]


def test_an_object_that_an_earlier_version_left_half_is_copied_again(home: Path, tmp_path: Path) -> None:
    """Else every further backup into that folder would end in an error."""
    (evidence,) = (home / "runs" / "r1" / "artifacts" / "sha256").iterdir()
    half = tmp_path / "backup" / evidence.relative_to(home)
    half.parent.mkdir(parents=True)
    half.write_bytes(b"pr")
    back_up_home(home, tmp_path / "backup")
    assert verify_objects(tmp_path / "backup") == 1


def test_what_is_still_being_written_is_left_out(home: Path, tmp_path: Path) -> None:
    """Evidence without its name yet, a bundle that is copied, a prediction log without its end, SQLite's own files."""
    evidence = home / "runs" / "r1" / "artifacts" / "sha256"
    for path in (
        evidence / f".{'0' * 64}.1.2",
        home / "bundles" / "parcels" / f".{'0' * 64}.1" / "bundle.json",
        home / PREDICTION_LOG / "2.parquet.part",
        home / "feast" / "parcels" / "online.db-wal",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    back_up_home(home, tmp_path / "backup")
    assert not [path for path in (tmp_path / "backup").rglob("*") if path.is_file() and path.read_bytes() == b"half"]
    assert verify_objects(home) == 1


def test_a_second_backup_follows_what_a_rollout_and_the_prediction_log_have_removed(home: Path, tmp_path: Path) -> None:
    """A wish that a rollout no longer heeds, and predictions that are past their time, do not come back."""
    wishes, log = home / "rollouts" / "parcels" / "wishes.json", home / PREDICTION_LOG / "1.parquet"
    for path in (wishes, log, home / FEEDBACK_LOG):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(label(1))
    back_up_home(home, tmp_path / "backup")
    for path in (wishes, log, home / FEEDBACK_LOG):
        path.unlink()
    again = restored(home, tmp_path / "backup")
    assert not (again / wishes.relative_to(home)).exists()
    assert not (again / log.relative_to(home)).exists()
    assert (again / FEEDBACK_LOG).exists(), "labels that a home has lost are not taken from its backup"


def test_what_is_made_again_and_what_is_not_the_homes_is_left_out(home: Path, tmp_path: Path) -> None:
    """Caches of the source cost room and bring nothing; data that a user put there have a source elsewhere."""
    caches = store_folder(home, home), mirror_folder(home, "s3://b"), store_of(home, home / "data" / "table.csv")
    for folder in (*caches, home / "data"):
        folder.mkdir(parents=True)
        (folder / "table.csv").touch()
    assert {folder.resolve().relative_to(home.resolve()).parts[0] for folder in caches} <= backups.MADE_AGAIN.keys()
    assert backups.strangers(home) == ["data"]
    back_up_home(home, tmp_path / "backup")
    assert not list((tmp_path / "backup").rglob("table.csv"))
    shutil.rmtree(home)
    assert backups.strangers(restore_home(tmp_path / "backup")) == []


def test_a_home_below_a_folder_named_artifacts_is_copied_too(home: Path, tmp_path: Path) -> None:
    """Only a run's own folder of that name holds objects."""
    moved = tmp_path / "artifacts" / "home"
    moved.parent.mkdir()
    home.rename(moved)
    back_up_home(moved, tmp_path / "backup")
    assert (tmp_path / "backup" / "runs" / "r1" / "run.json").exists()


def test_evidence_that_is_stored_while_the_ledger_is_copied_is_in_the_backup(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a restored ledger would name what is not there."""
    copied, evidence = backup_files.copy_file, home / "runs" / "r1" / "artifacts" / "sha256"

    def meanwhile(source: Path, target: Path) -> None:
        (evidence / hashlib.sha256(b"more").hexdigest()).write_bytes(b"more")
        copied(source, target)

    monkeypatch.setattr(backups, "copy_file", meanwhile)
    back_up_home(home, tmp_path / "backup")
    assert verify_objects(tmp_path / "backup") == 2


def test_a_backup_does_not_lie_in_the_home(home: Path) -> None:
    """It would be lost with it."""
    with pytest.raises(UsageError, match="elsewhere"):
        back_up_home(home, home / "backups" / "monday")


def test_a_database_is_copied_as_of_one_moment_while_another_writes(home: Path, tmp_path: Path) -> None:
    """What is not committed is not in the copy."""
    with closing(sqlite3.connect(home / "mlflow.db")) as writer:
        writer.execute("pragma journal_mode = wal")
        writer.execute("insert into rows values (2)")
        copy_sqlite(home / "mlflow.db", tmp_path / "copy.db")
    assert numbers(tmp_path / "copy.db") == [1]


def test_what_is_no_database_is_named(tmp_path: Path) -> None:
    """Half a backup is none."""
    (tmp_path / "broken.db").write_bytes(b"no database" * 1000)
    with pytest.raises(InfrastructureError, match=r"broken\.db"):
        copy_sqlite(tmp_path / "broken.db", tmp_path / "copy.db")


def test_a_backup_is_not_restored_over_what_is_there(home: Path, tmp_path: Path) -> None:
    """The old state may be needed once more."""
    back_up_home(home, tmp_path / "backup")
    with pytest.raises(UsageError, match="not empty"):
        restore_home(tmp_path / "backup")


def test_a_changed_piece_of_evidence_is_found(home: Path, tmp_path: Path) -> None:
    """A disk that forgets is noticed when the backup is tried, not when it is needed."""
    back_up_home(home, tmp_path / "backup")
    (evidence,) = (tmp_path / "backup" / "runs" / "r1" / "artifacts" / "sha256").iterdir()
    evidence.write_bytes(b"other")
    shutil.rmtree(home)
    with pytest.raises(BackupDamaged):
        restore_home(tmp_path / "backup")
    assert not home.exists(), "half a home was restored"


def test_a_backup_that_was_cut_short_is_not_restored(home: Path, tmp_path: Path) -> None:
    """Its description is written last."""
    back_up_home(home, tmp_path / "backup")
    (tmp_path / "backup" / "backup.json").unlink()
    with pytest.raises(UsageError, match="of a whole backup"):
        restore_home(tmp_path / "backup")


def test_a_second_backup_into_one_folder_keeps_the_objects_and_renews_the_databases(home: Path, tmp_path: Path) -> None:
    """Objects never change, so that the second costs what is new."""
    back_up_home(home, tmp_path / "backup")
    with closing(sqlite3.connect(home / "mlflow.db")) as database, database:
        database.execute("insert into rows values (2)")
    back_up_home(home, tmp_path / "backup")
    assert numbers(tmp_path / "backup" / "mlflow.db") == [1, 2]
