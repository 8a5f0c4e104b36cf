"""A data source at an fsspec address, mirrored into the home: what has not changed there is not read again.

The mirror holds those parts of the source that the plan names, under the same relative paths, so that every reader
finds a folder. `mirror.json` beside it says of each file which version it is a copy of.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from sextant_components.runs.source_folder import is_remote, mirror_folder
from sextant_plan.canonical import CHUNK_BYTES, digest_of, digest_of_file
from sextant_plan.errors import DataError, InfrastructureError
from sextant_plan.files import locked, replacing, write_atomically
from sextant_plan.schema import Closed, Plan

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

MIRROR_FILE = "mirror.json"
READERS = 8  # files fetched at a time; small pictures wait for the network, not for a core
# What object stores and file systems call the version of a file, the surest first.
VERSION_KEYS = (
    "ETag",
    "etag",
    "md5Hash",
    "content_md5",
    "mtime",
    "LastModified",
    "last_modified",
    "updated",
    "created",
)


class Mirrored(Closed):
    """A file of the mirror: size and version where it was read, its digest, and when its copy was last written."""

    size: int
    version: str | None
    digest: str
    copied_ns: int


@dataclass(frozen=True)
class Mirror:
    """What a fetch found: the digest of each file by its path under the source, and how many were read."""

    files: dict[str, str]
    read: int

    @property
    def digest(self) -> str:
        """The digest of all paths and contents."""
        return digest_of(self.files)


_MIRRORED = TypeAdapter(dict[str, Mirrored])


def fetch_source(plan: Plan, home: Path) -> Mirror | None:
    """Bring the mirror of a remote source up to date; None if the source is a folder.

    Raises DataError for an address that is not there, and InfrastructureError for a store that cannot be reached,
    does not let us in, or gives other bytes than it lists.
    """
    source = plan.data.source
    if not is_remote(source):
        return None
    files = mirror_folder(home, source)
    files.mkdir(parents=True, exist_ok=True)
    with locked(files.parent / "lock"), _told(source):
        return _fetch(source.rstrip("/"), _parts(plan), files)


def _parts(plan: Plan) -> list[str]:
    data = plan.data
    views = [view.source for view in plan.features.views] if plan.features else []
    return list(dict.fromkeys(part for part in (data.table, data.images, data.corrections, *views) if part))


def _fetch(source: str, parts: list[str], files: Path) -> Mirror:
    # Else gcsfs asks another API about each bucket by gRPC first, where an emulator or a firewall does not answer.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    import fsspec

    system, root = fsspec.url_to_fs(source, use_listings_cache=False, skip_instance_cache=True)
    listed = _listed(system, root, source, parts)
    manifest = files.parent / MIRROR_FILE
    known = _read_manifest(manifest)
    kept = {name: known[name] for name, info in listed.items() if _is_current(files / name, known.get(name), info)}
    wanted = [name for name in listed if name not in kept]

    def read(name: str) -> Mirrored:
        return _copy(system, f"{root}/{name}", files / name, listed[name])

    with ThreadPoolExecutor(READERS) as pool:
        found = kept | dict(zip(wanted, pool.map(read, wanted), strict=True))
    for path in _present(files):
        if path.relative_to(files).as_posix() not in found:
            path.unlink()
    write_atomically(manifest, _MIRRORED.dump_json(found))
    return Mirror({name: found[name].digest for name in sorted(found)}, read=len(wanted))


def _listed(system: AbstractFileSystem, root: str, source: str, parts: list[str]) -> dict[str, Mapping[str, Any]]:
    """Return what the store says of each file of the parts, by its path under the source."""
    listed: dict[str, Mapping[str, Any]] = {}
    for part in parts:
        found = system.find(f"{root}/{part}".rstrip("/"), detail=True)
        if not found:
            raise DataError(f"{source}/{part}", "nothing is there", "Correct the address in the plan, or put it there")
        for path, info in found.items():
            name = str(PurePosixPath(path).relative_to(PurePosixPath(root)))
            if ".." in PurePosixPath(name).parts:
                raise DataError(f"{source}/{name}", "the name leaves the source", "Rename the file")
            listed[name] = info
    return listed


def _version(info: Mapping[str, Any]) -> str | None:
    return next((str(info[key]) for key in VERSION_KEYS if info.get(key) is not None), None)


def _is_current(path: Path, known: Mirrored | None, info: Mapping[str, Any]) -> bool:
    """Tell whether the copy is of the version that is listed, and still what was written."""
    if known is None or known.version is None or (known.size, known.version) != (info["size"], _version(info)):
        return False
    try:
        state = path.stat()
    except FileNotFoundError:
        return False
    untouched = (state.st_size, state.st_mtime_ns) == (known.size, known.copied_ns)
    return untouched or digest_of_file(path) == known.digest


def _copy(system: AbstractFileSystem, remote: str, path: Path, info: Mapping[str, Any]) -> Mirrored:
    path.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with (
        replacing(path, durable=False) as partial,  # a sync for each picture costs more than a copy that is made again
        system.open(remote, "rb", cache_type="none", block_size=CHUNK_BYTES) as stream,
        partial.open("wb") as copy,
    ):
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
            copy.write(chunk)
        if size != info["size"]:
            raise InfrastructureError(
                f"{remote}: {size} bytes came, {info['size']} are listed. It is being written: wait."
            )
    return Mirrored(
        size=size, version=_version(info), digest=f"sha256:{digest.hexdigest()}", copied_ns=path.stat().st_mtime_ns
    )


def _read_manifest(path: Path) -> dict[str, Mirrored]:
    """Return what the mirror says of itself; one that cannot be read is made anew."""
    try:
        return _MIRRORED.validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return {}


def _present(files: Path) -> Iterator[Path]:
    return (path for path in files.rglob("*") if path.is_file())


@contextmanager
def _told(source: str) -> Iterator[None]:
    """Say what a store's own errors mean for the plan's address."""
    scheme = source.partition("://")[0]
    try:
        yield
    except (DataError, InfrastructureError):
        raise
    except FileNotFoundError as error:
        raise DataError(source, "no such bucket or folder", "Correct data.source in the plan, or create it") from error
    except ImportError as error:
        raise InfrastructureError(f"{source}: no driver for {scheme}. Install the package: {error.name}.") from error
    except ValueError as error:
        raise DataError(source, f"{scheme} is no known kind of store", "Use s3, gs, file or a folder") from error
    except Exception as error:  # drivers raise errors of their own for credentials and connections
        raise InfrastructureError(
            f"{source}: the store refused or could not be reached ({type(error).__name__}). Set its credentials and "
            "address in the environment, for s3: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL."
        ) from error
