"""Backups of runs that lie in an object store: what is named by its digest is copied once, and checked when it is back.

In a backup they lie where the runs of a home lie, so that one check covers both (see `backups`).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeVar

from sextant_components.deployment.backup_files import whole_files
from sextant_components.deployment.backups import RUNS_FOLDER
from sextant_plan.canonical import digest_of_file
from sextant_plan.errors import InfrastructureError, UsageError
from sextant_plan.files import replacing

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

T = TypeVar("T")
CONNECTIONS = 8  # files moved at a time; small ones wait for the network, not for a core
BY_DIGEST = "artifacts/sha256"


class StoreFailed(InfrastructureError):
    """An object store that did not give or take an object."""

    def __init__(self, url: str, error: Exception) -> None:
        super().__init__(f"{url}: {type(error).__name__}. Check the address, the credentials and the endpoint.")


def back_up_store(url: str, target: Path) -> int:
    """Copy the runs below an address, such as s3://runs, into a backup; return how many objects are there.

    An object that its digest names and that is in the backup already is left. Raises StoreFailed.
    """
    system, root = opened(url)
    folder = target / RUNS_FOLDER

    def fetch(path: str) -> None:
        place = folder / PurePosixPath(path).relative_to(root)
        if BY_DIGEST in path and place.exists():
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        with replacing(place, durable=False) as partial:
            system.get_file(path, str(partial))

    with told(url):
        paths = [str(path) for path in system.find(root)]
        each_at_once(fetch, paths)
    return len(paths)


def restore_store(backup: Path, url: str) -> int:
    """Write the runs of a backup below an address where nothing is yet; return how many objects were written.

    Raises UsageError if something is there, and StoreFailed.
    """
    system, root = opened(url)
    folder = backup / RUNS_FOLDER

    def put(path: Path) -> None:
        system.pipe_file(f"{root}/{path.relative_to(folder).as_posix()}", path.read_bytes())

    with told(url):
        with suppress(FileNotFoundError):
            if system.find(root):
                raise UsageError(f"{url}: not empty. Name another address; what is there may be needed once more.")
        files = list(whole_files(folder))
        each_at_once(put, files)
    return len(files)


def differing(backup: Path, url: str, scratch: Path) -> list[str]:
    """Read every object of a backup back from an address; return the names of those that are not the same."""
    back_up_store(url, scratch)
    folder, read = backup / RUNS_FOLDER, scratch / RUNS_FOLDER
    names = {path.relative_to(each) for each in (folder, read) for path in whole_files(each)}
    return sorted(name.as_posix() for name in names if _digest(folder / name) != _digest(read / name))


@contextmanager
def beside(url: str) -> Iterator[str]:
    """Give an address below another at which nothing is, and remove what lies there after the block."""
    scratch = f"{url.rstrip('/')}/sextant-drill-{secrets.token_hex(6)}"
    try:
        yield scratch
    finally:
        system, root = opened(scratch)
        with told(url), suppress(FileNotFoundError):
            system.rm(root, recursive=True)


def _digest(path: Path) -> str | None:
    return digest_of_file(path) if path.exists() else None


def each_at_once(act: Callable[[T], None], items: Sequence[T]) -> None:
    """Act on all items, so many at a time as there are connections; raises the first error."""
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for _ in pool.map(act, items):
            pass


def opened(url: str) -> tuple[AbstractFileSystem, str]:
    """Return the store of an address and the path in it; nothing that it once listed is remembered."""
    import fsspec

    system, root = fsspec.url_to_fs(url, use_listings_cache=False, skip_instance_cache=True)
    return system, str(root).rstrip("/")


@contextmanager
def told(url: str) -> Iterator[None]:
    """Raise StoreFailed for what the store's client raises in the block."""
    try:
        yield
    except (InfrastructureError, UsageError):
        raise
    except Exception as error:  # each store's client has errors of its own
        raise StoreFailed(url, error) from error
