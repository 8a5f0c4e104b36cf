"""Backups: as of one moment, verified by digest, and never over what is there."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sextant_components.backups import (
    BackupDamaged,
    back_up_home,
    copy_sqlite,
    restore_home,
    verify_objects,
)
from sextant_plan.errors import InfrastructureError, UsageError


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
