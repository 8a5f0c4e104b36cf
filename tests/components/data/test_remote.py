"""Remote sources: read as a folder is, only what changed, and told apart when they cannot be read."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from tests.object_store import google_store, object_store

from sextant_components.data.ingest import run_ingest
from sextant_components.data.remote_sources import Mirror, fetch_source
from sextant_components.data.tables import read_snapshot
from sextant_components.runs.source_folder import mirror_folder
from sextant_plan.errors import DataError, InfrastructureError


@pytest.fixture
def bucket(workshop: Any) -> Iterator[str]:
    """The workshop's source in fsspec's store in memory; the plan names its address."""
    address = f"memory://{uuid.uuid4().hex}/source"
    _upload(workshop, address)
    yield address
    fsspec.filesystem("memory").rm(address.rpartition("/")[0], recursive=True)


def _upload(workshop: Any, address: str) -> None:
    workshop.open()
    system, root = fsspec.url_to_fs(address)
    for path in workshop.data.rglob("*"):
        if path.is_file():
            system.pipe_file(f"{root}/{path.relative_to(workshop.data).as_posix()}", path.read_bytes())
    workshop.plan["data"]["source"] = address


def _fetch(workshop: Any) -> Mirror:
    context = workshop.open()
    mirror = fetch_source(context.plan, context.home)
    assert mirror is not None
    return mirror


def _ingested_as_local_and_incrementally(workshop: Any, address: str) -> None:
    """What any store must do: the same snapshot as a folder, one changed file read again, a removed one gone."""
    run_ingest(workshop.open(), snapshot=workshop.root / "local")
    _upload(workshop, address)
    assert _fetch(workshop).read == 61
    run_ingest(workshop.open(), snapshot=workshop.root / "remote")
    local, remote = (read_snapshot(workshop.root / name) for name in ("local", "remote"))
    assert remote.data_hash == local.data_hash
    assert [item.digest for item in remote.lineage] == [item.digest for item in local.lineage]
    assert _fetch(workshop).read == 0
    system, root = fsspec.url_to_fs(address)
    system.pipe_file(f"{root}/images/004.png", (workshop.data / "images" / "007.png").read_bytes())
    system.rm_file(f"{root}/images/059.png")
    mirror = _fetch(workshop)
    assert mirror.read == 1
    assert mirror.files["images/004.png"] == mirror.files["images/007.png"]
    assert not (mirror_folder(workshop.home, address) / "images" / "059.png").exists()


def test_a_remote_source_is_ingested_as_a_folder_is(workshop: Any) -> None:
    """Any fsspec address will do."""
    _ingested_as_local_and_incrementally(workshop, f"memory://{uuid.uuid4().hex}/source")


def test_a_run_records_what_was_at_the_address(workshop: Any, bucket: str, records: Any) -> None:
    """The record does not depend on how much of it was read anew."""
    found = []
    for _ in range(2):
        context = workshop.open()
        run_ingest(context, snapshot=context.run / "s")
        found.append(records(context, "ingest")["remote source"])
    assert found[0].value["address"] == bucket
    assert found[0].value["files"] == 61
    assert found[0].id == found[1].id


def test_a_damaged_copy_is_read_again(workshop: Any, bucket: str) -> None:
    """A disk or a person may change the mirror; the next fetch sees it."""
    before = _fetch(workshop)
    path = mirror_folder(workshop.home, bucket) / "images" / "003.png"
    path.write_bytes(bytes(path.stat().st_size))
    after = _fetch(workshop)
    assert after.read == 1
    assert after.files == before.files


def test_a_part_that_is_not_there_is_named(workshop: Any, bucket: str) -> None:
    """The plan's own word for it, not the driver's."""
    workshop.plan["data"]["table"] = "tables.csv"
    with pytest.raises(DataError, match=rf"{bucket}/tables\.csv: nothing is there"):
        _fetch(workshop)


def test_an_unknown_kind_of_store_is_named(workshop: Any) -> None:
    """A slip in the scheme is the plan's fault."""
    workshop.plan["data"]["source"] = "s4://bucket/source"
    with pytest.raises(DataError, match=r"s4://bucket/source: s4 is no known kind of store"):
        _fetch(workshop)


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A source's address in a real S3 object store; credentials are in the environment."""
    with object_store(tmp_path / "s3", "bucket") as store:
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        yield "s3://bucket/source"


@pytest.fixture
def gs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A source's address in a real server of Google's storage API, which asks for no credentials."""
    with google_store(tmp_path / "gs", "bucket") as url:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # as `_fetch` does, before gcsfs is imported
        monkeypatch.setitem(fsspec.config.conf, "gs", {"token": "anon"})
        yield "gs://bucket/source"


@pytest.mark.servers
def test_google_storage_is_ingested_as_a_folder_is(workshop: Any, gs: str) -> None:
    """The same promises over gs; only a file whose generation changed is read again."""
    _ingested_as_local_and_incrementally(workshop, gs)


@pytest.mark.servers
def test_an_absent_google_bucket_is_the_plans_fault(workshop: Any, gs: str) -> None:
    """It is named by its address."""
    workshop.plan["data"]["source"] = "gs://elsewhere/source"
    with pytest.raises(DataError, match="gs://elsewhere/source"):
        _fetch(workshop)


@pytest.mark.servers
def test_an_object_store_is_ingested_as_a_folder_is(workshop: Any, s3: str) -> None:
    """The same promises over S3."""
    _ingested_as_local_and_incrementally(workshop, s3)


@pytest.mark.servers
def test_an_absent_bucket_and_wrong_credentials_are_told_apart(
    workshop: Any, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is the plan's fault, the other the environment's."""
    workshop.plan["data"]["source"] = "s3://elsewhere/source"
    with pytest.raises(DataError, match="s3://elsewhere/source"):
        _fetch(workshop)
    workshop.plan["data"]["source"] = s3
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(InfrastructureError, match="the store refused or could not be reached"):
        _fetch(workshop)
