"""Drills of restoring: registry, feature store and objects are backed up, lost, restored and compared.

The live ones are only read. The recovery point is how much of what was written last is not in the backup: that is the
time since the last backup, and here the time the backup itself took; the schedule of backups adds its interval.
"""

from __future__ import annotations

import secrets
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sextant_components.data.features.feature_sources import ViewTable
from sextant_components.data.features.feature_store import REPOSITORY_FILE, SHARED_STORES, FeatureRepository
from sextant_components.deployment.backups import (
    back_up_features,
    back_up_objects,
    back_up_registry,
    dump_postgresql,
    fingerprint_postgresql,
    restore,
    restore_postgresql,
    scratch_postgresql,
    verify_objects,
)
from sextant_components.deployment.drills.detectors import Detector
from sextant_components.deployment.drills.feature_outage import ONLINE_FILE, copied_repo
from sextant_components.deployment.drills.result import Result
from sextant_components.deployment.drills.stage import Stage
from sextant_components.deployment.store_backups import back_up_store, beside, differing, restore_store
from sextant_serving.on_demand import feast_name

KEYS = 200  # entities whose features are compared
PROBE = "sextant-drill"


def rehearse_registry(stage: Stage, detector: Detector) -> Result:  # noqa: ARG001 - the loss is staged, not noticed
    """Lose a copy of the registry after a write that the backup has and one that it has not."""
    if stage.database is not None:
        return _rehearse_postgresql(stage, stage.database)
    primary, backup, restored = (stage.scratch / name for name in ("primary", "backup", "restored"))
    back_up_registry(stage.home, primary)
    _note(primary, "before")
    start = time.monotonic()
    back_up_registry(primary, backup)
    backed_up = time.monotonic() - start
    _note(primary, "after")
    expected = _registry_content(stage.home, stage.plan.name)
    shutil.rmtree(primary)
    lost = time.monotonic()
    restore(backup, restored)
    found = _registry_content(restored, stage.plan.name)
    seconds = time.monotonic() - lost
    whole = found == expected and _notes(restored) == ["before"]
    return _result("the registry is gone", backed_up, seconds if whole else None, {"promotions": len(expected)})


def _rehearse_postgresql(stage: Stage, address: str) -> Result:
    """Restore a dump of the registry into a database beside it, and compare the rows of every table."""
    backup = stage.scratch / "backup"
    before = fingerprint_postgresql(address)
    start = time.monotonic()
    dump_postgresql(address, backup)
    backed_up = time.monotonic() - start
    # A table that was written while it was dumped cannot be compared; whoever is away writes nothing.
    still = fingerprint_postgresql(address)
    expected = {name: rows for name, rows in before.items() if still.get(name) == rows}
    lost = time.monotonic()
    with scratch_postgresql(address) as empty:
        restore_postgresql(backup, empty)
        found = fingerprint_postgresql(empty)
        seconds = time.monotonic() - lost
    whole = bool(expected) and found.keys() == before.keys() and expected.items() <= found.items()
    facts: dict[str, float | int | str] = {"tables": len(before), "tables compared": len(expected)}
    return _result("the registry's PostgreSQL is gone", backed_up, seconds if whole else None, facts)


def rehearse_features(stage: Stage, detector: Detector) -> Result:  # noqa: ARG001
    """Lose a copy of the feature store, restore it, and compare what it answers."""
    if stage.feature_repo is not None and not (stage.feature_repo / ONLINE_FILE).is_file():
        return _rehearse_shared_features(stage, stage.feature_repo)
    repo = copied_repo(stage)
    keys = [str(row.fields[stage.spec.entity]) for row in stage.rows[:KEYS] if stage.spec.entity in row.fields]
    expected = _looked_up(stage, repo, keys)
    start = time.monotonic()
    back_up_features(repo, stage.scratch / "backup")
    backed_up = time.monotonic() - start
    shutil.rmtree(repo)
    lost = time.monotonic()
    restore(stage.scratch / "backup", repo)
    found = _looked_up(stage, repo, keys)
    seconds = time.monotonic() - lost
    whole = found == expected and any(row is not None for row in found)
    return _result("the feature store is gone", backed_up, seconds if whole else None, {"entities": len(keys)})


def _rehearse_shared_features(stage: Stage, live: Path) -> Result:
    """Load the runs' feature tables into a project beside the live one, lose its rows, load again, and compare.

    A Redis or a PostgreSQL is a copy of those tables, so that the tables are its backup.
    """
    keys = [str(row.fields[stage.spec.entity]) for row in stage.rows[:KEYS] if stage.spec.entity in row.fields]
    expected = _looked_up(stage, live, keys)
    beside = _project_beside(stage, live)
    with beside.locked():
        beside.apply()
        try:
            start = time.monotonic()
            beside.materialise(until=datetime.now(UTC))
            loaded = time.monotonic() - start
            beside.empty()
            lost = time.monotonic()
            beside.materialise(until=datetime.now(UTC))
            found = _looked_up(stage, beside.folder, keys)
            seconds = time.monotonic() - lost
        finally:
            beside.remove()
    whole = found == expected and any(row is not None for row in found)
    return _result("the online store is empty", loaded, seconds if whole else None, {"entities": len(keys)})


def _project_beside(stage: Stage, live: Path) -> FeatureRepository:
    import polars as pl
    import yaml

    assert stage.plan.features is not None
    settings = yaml.safe_load((live / REPOSITORY_FILE).read_text(encoding="utf-8"))
    tables = [
        ViewTable(view, pl.read_parquet(live / "data" / f"{feast_name(view.name)}.parquet"), "-", 0)
        for view in stage.plan.features.views
    ]
    stores = {name: settings[name] for name in SHARED_STORES}
    project = f"{PROBE.replace('-', '_')}_{secrets.token_hex(6)}"
    return FeatureRepository(stage.plan, stage.scratch / "feast", tables, project=project, stores=stores)


def rehearse_objects(stage: Stage, detector: Detector) -> Result:  # noqa: ARG001
    """Restore the bundles and the evidence elsewhere, and check each against its digest."""
    if stage.store is not None:
        return _rehearse_store(stage, stage.store)
    backup, restored = stage.scratch / "backup", stage.scratch / "restored"
    start = time.monotonic()
    back_up_objects(stage.home, backup)
    backed_up = time.monotonic() - start
    lost = time.monotonic()
    restore(backup, restored)
    count = verify_objects(restored)
    seconds = time.monotonic() - lost
    whole = count == verify_objects(stage.home)
    return _result("bundles and evidence are gone", backed_up, seconds if whole else None, {"objects": count})


def _rehearse_store(stage: Stage, url: str) -> Result:
    """Restore the runs of an object store beside themselves, and compare every object."""
    backup = stage.scratch / "backup"
    start = time.monotonic()
    count = back_up_store(url, backup)
    backed_up = time.monotonic() - start
    verify_objects(backup)
    lost = time.monotonic()
    with beside(url) as restored:
        restore_store(backup, restored)
        wrong = differing(backup, restored, stage.scratch / "restored")
        seconds = time.monotonic() - lost
    whole = count > 0 and not wrong
    facts: dict[str, float | int | str] = {"objects": count, "objects that differ": len(wrong)}
    return _result("the object store is gone", backed_up, seconds if whole else None, facts)


def _result(fault: str, backed_up: float, restored: float | None, facts: dict[str, float | int | str]) -> Result:
    return Result(
        fault=fault,
        detected_after=0.0,
        detected_by="whoever restores",
        recovery="the backup is restored elsewhere and compared with what was",
        recovered_after=restored,
        facts={"recovery point, seconds": round(backed_up, 3), **facts},
    )


def _registry_content(home: Path, name: str) -> list[Any]:
    """Return the promotions with the digest that each version is bound to, read as a rollout reads them."""
    from sextant_serving.registry import open_registry

    registry = open_registry(home)
    return [(promotion, registry.digest_of(name, promotion.version)) for promotion in registry.history(name)]


def _note(home: Path, text: str) -> None:
    from sextant_serving.registry import open_registry

    open_registry(home).store.ledger(PROBE).write(text, text)


def _notes(home: Path) -> list[str]:
    from sextant_serving.registry import open_registry

    return sorted(open_registry(home).store.ledger(PROBE).read())


def _looked_up(stage: Stage, repo: Path, keys: list[str]) -> list[dict[str, object] | None]:
    from sextant_serving.features import FeatureLookup

    return FeatureLookup(repo, stage.spec).lookup(keys)
