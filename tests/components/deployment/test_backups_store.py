"""Runs in an object store: backed up, lost, restored beside themselves, and compared."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.object_store import ObjectStore, object_store

from sextant_components.deployment import store_backups
from sextant_components.deployment.backups import BackupDamaged, verify_objects
from sextant_components.deployment.drills import restored
from sextant_components.deployment.drills.detectors import Detector
from sextant_components.deployment.drills.stage import Stage
from sextant_components.deployment.store_backups import back_up_store, restore_store
from sextant_plan.errors import UsageError

pytestmark = pytest.mark.servers
URL = "s3://runs"
OBJECTS = 8


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """An S3 with the evidence of one run: objects named by their digests, and a ledger."""
    with object_store(tmp_path / "s3", "runs") as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        evidence = running.folder / "runs" / "parcels-1" / "artifacts" / "sha256"
        evidence.mkdir(parents=True)
        for number in range(OBJECTS):
            content = f"evidence {number}".encode()
            (evidence / hashlib.sha256(content).hexdigest()).write_bytes(content)
        ledger = running.folder / "runs" / "parcels-1" / "ledger"
        ledger.mkdir()
        (ledger / "plan-1.jsonl").write_text("{}\n")
        yield running


def objects(store: ObjectStore) -> list[Path]:
    """Return what lies in the bucket; the server keeps files of its own beside it."""
    return sorted(path for path in (store.folder / "runs").rglob("*") if path.is_file())


def stage_in(folder: Path) -> Stage:
    return cast("Stage", SimpleNamespace(store=URL, scratch=folder))


def test_the_drill_restores_every_object_and_leaves_nothing_behind(store: ObjectStore, tmp_path: Path) -> None:
    """Recovery point and time are measured; the store is only read, but for a place that is emptied again."""
    before = objects(store)
    result = restored.rehearse_objects(stage_in(tmp_path), Detector([]))
    assert result.recovered_after is not None
    assert result.facts["objects"] == OBJECTS + 1
    assert "recovery point, seconds" in result.facts
    assert objects(store) == before


def test_an_object_that_comes_back_changed_fails_the_drill(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restore that runs without an error proves nothing."""

    def damage(backup: Path, url: str) -> int:
        count = restore_store(backup, url)
        found = next(path for path in objects(store) if "sextant-drill" in str(path) and "artifacts" in str(path))
        found.write_bytes(b"something else")
        return count

    monkeypatch.setattr(restored, "restore_store", damage)
    result = restored.rehearse_objects(stage_in(tmp_path), Detector([]))
    assert result.recovered_after is None
    assert result.facts["objects that differ"] == 1


def test_a_second_backup_fetches_what_is_new(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its digest names never changes; the ledger is fetched again."""
    target = tmp_path / "backup"
    back_up_store(URL, target)
    fetched: list[str] = []
    opened = store_backups.opened

    def watched(url: str) -> Any:
        system, root = opened(url)
        get = system.get_file

        def get_file(path: str, place: str) -> None:
            fetched.append(path)
            get(path, place)

        system.get_file = get_file
        return system, root

    monkeypatch.setattr(store_backups, "opened", watched)
    assert back_up_store(URL, target) == OBJECTS + 1
    assert fetched == ["runs/parcels-1/ledger/plan-1.jsonl"]
    assert verify_objects(target) == OBJECTS


def test_a_store_that_is_not_empty_is_not_restored_over(store: ObjectStore, tmp_path: Path) -> None:
    back_up_store(URL, tmp_path / "backup")
    with pytest.raises(UsageError, match="not empty"):
        restore_store(tmp_path / "backup", URL)


def test_a_damaged_object_is_found_in_the_backup(store: ObjectStore, tmp_path: Path) -> None:
    """Before anybody has to rely on it."""
    damaged = next(path for path in objects(store) if "artifacts" in str(path))
    damaged.write_bytes(b"not what its name says")
    back_up_store(URL, tmp_path / "backup")
    with pytest.raises(BackupDamaged):
        verify_objects(tmp_path / "backup")
