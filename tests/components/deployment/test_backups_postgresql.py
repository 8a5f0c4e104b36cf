"""A registry on PostgreSQL: dumped, lost, restored beside the original, and compared."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sextant_components.deployment.backups import (
    dump_postgresql,
    fingerprint_postgresql,
    restore_postgresql,
    scratch_postgresql,
)
from sextant_components.deployment.drills import restored
from sextant_components.deployment.drills.detectors import Detector
from sextant_components.deployment.drills.stage import Stage
from sextant_plan.errors import InfrastructureError

pytestmark = pytest.mark.servers
TABLE = "create table params (key text primary key, value text); insert into params values ('seq-0001', 'one')"


@pytest.fixture
def database(postgres: dict[str, Any]) -> str:
    """The address of a database with one table of one row."""
    address = f"postgresql://{postgres['user']}@{postgres['host']}:{postgres['port']}/{postgres['database']}"
    say(address, TABLE)
    return address


def say(address: str, statement: str) -> str:
    """Run one statement."""
    return subprocess.run(["psql", address, "-qAtc", statement], check=True, capture_output=True, text=True).stdout


def test_the_drill_restores_every_table_and_leaves_nothing_behind(database: str, tmp_path: Path) -> None:
    """The original is only read, and the database beside it goes again."""
    stage = cast("Stage", SimpleNamespace(database=database, scratch=tmp_path))
    result = restored.rehearse_registry(stage, Detector([]))
    assert result.recovered_after is not None
    assert result.facts["tables compared"] == 1
    assert say(database, "select count(*) from pg_database where datname like 'sextant_drill_%'").strip() == "0"


def test_what_was_written_after_the_dump_is_lost_and_what_was_before_is_not(database: str, tmp_path: Path) -> None:
    """That is the recovery point."""
    before = fingerprint_postgresql(database)
    dump_postgresql(database, tmp_path)
    say(database, "insert into params values ('seq-0002', 'two')")
    with scratch_postgresql(database) as empty:
        restore_postgresql(tmp_path, empty)
        assert fingerprint_postgresql(empty) == before != fingerprint_postgresql(database)


def test_a_database_that_is_not_empty_is_not_restored_over(database: str, tmp_path: Path) -> None:
    """All of the dump or nothing: the row that is there stays."""
    dump_postgresql(database, tmp_path)
    with pytest.raises(InfrastructureError, match="pg_restore"):
        restore_postgresql(tmp_path, database)
    assert say(database, "select count(*) from params").strip() == "1"
