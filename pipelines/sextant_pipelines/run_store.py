"""A run's folder on a shared volume or in an object store, and a copy of the latter for a step to work in.

In an object store nothing can be appended: a step gets the run's files beside it and leaves its own when it ends,
also when it fails. A ledger file is created there, never replaced, so that two attempts cannot hide one another; a
pod that is killed leaves nothing, and its step counts as never reached. Credentials and the endpoint come from the
environment (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_ENDPOINT_URL`), which the pod's Secrets fill.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from sextant_components.runs.context import PLAN_FILE, RUN_FILE, RunFile
from sextant_plan.canonical import digest_of_file
from sextant_plan.errors import InfrastructureError, UsageError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

SCHEDULE_FOLDER = "schedule"  # beside the runs of a schedule: the plan and run.json that each of them begins with
SCHEMES = ("s3", "gs")


class StoreUnreachable(InfrastructureError):
    """An object store that did not answer, or refused."""

    def __init__(self, uri: str, error: BaseException) -> None:
        super().__init__(
            f"{uri}: {type(error).__name__}. Is the store reachable, and do AWS_ENDPOINT_URL and the credentials fit?"
        )


def is_remote(run_uri: str) -> bool:
    """Tell whether a run lies in an object store. Raises UsageError for a scheme that is not known."""
    scheme, separator, _ = run_uri.partition("://")
    if not separator or scheme == "file":
        return False
    if scheme not in SCHEMES:
        raise UsageError(f"{run_uri}: no run store of this kind. Use a folder, or one of {', '.join(SCHEMES)}.")
    return True


@contextmanager
def local_copy(run_uri: str) -> Iterator[str]:
    """Yield the run's folder: itself, or a copy of what the object store has, whose changes go there at the end."""
    if not is_remote(run_uri):
        yield run_uri.removeprefix("file://")
        return
    with tempfile.TemporaryDirectory(prefix="sextant-run-") as name:
        folder = Path(name)
        _download(run_uri, folder)
        before = _digests(folder)
        try:
            yield name
        finally:
            _upload(run_uri, folder, before)


def lay_out(run_uri: str, *, plan: bytes, file: RunFile) -> None:
    """Write what a run begins with; an existing run of the same plan is left as it is, to be run again.

    Raises UsageError if the folder is another run's or another plan's.
    """
    found = read_files(run_uri, [RUN_FILE, PLAN_FILE])
    if RUN_FILE in found:
        # The repository may have gone on since: what the run began with stays.
        there = RunFile.model_validate_json(found[RUN_FILE]).model_copy(update={"repository": file.repository})
        if there != file or found.get(PLAN_FILE) != plan:
            raise UsageError(f"{run_uri}: another run or another plan lies here. Choose a new --run-id.")
        return
    write_files(run_uri, {PLAN_FILE: plan, RUN_FILE: (file.model_dump_json(indent=1) + "\n").encode()})


def begin_scheduled(run_uri: str, run_id: str) -> None:
    """Lay out a run that a schedule started, from the folder `schedule` beside it; nothing for any other run."""
    if read_files(run_uri, [RUN_FILE]):
        return
    template = read_files(f"{run_uri.rstrip('/').rpartition('/')[0]}/{SCHEDULE_FOLDER}", [RUN_FILE, PLAN_FILE])
    if len(template) == 2:
        file = RunFile.model_validate_json(template[RUN_FILE]).model_copy(update={"run_id": run_id})
        lay_out(run_uri, plan=template[PLAN_FILE], file=file)


def read_files(uri: str, names: Iterable[str]) -> dict[str, bytes]:
    """Return those of the named files that a folder has. Raises StoreUnreachable."""
    fs, root = _open(uri)
    found = {}
    for name in names:
        try:
            found[name] = fs.cat_file(f"{root}/{name}")
        except FileNotFoundError:
            continue
        except Exception as error:
            raise StoreUnreachable(uri, error) from error
    return found


def write_files(uri: str, files: dict[str, bytes]) -> None:
    """Write files into a folder, in order. Raises StoreUnreachable."""
    fs, root = _open(uri)
    try:
        fs.makedirs(root, exist_ok=True)
        for name, data in files.items():
            fs.pipe_file(f"{root}/{name}", data)
    except Exception as error:
        raise StoreUnreachable(uri, error) from error


def _download(run_uri: str, folder: Path) -> None:
    fs, root = _open(run_uri)
    try:
        for path in fs.find(root):
            target = folder / PurePosixPath(path).relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            fs.get_file(path, str(target))
    except FileNotFoundError:
        return
    except Exception as error:
        raise StoreUnreachable(run_uri, error) from error


def _upload(run_uri: str, folder: Path, before: dict[str, str]) -> None:
    fs, root = _open(run_uri)
    for name, digest in _digests(folder).items():
        if before.get(name) == digest:
            continue
        data = (folder / name).read_bytes()
        created = name.startswith("ledger/") and name not in before
        try:
            fs.pipe_file(f"{root}/{name}", data, **({"mode": "create"} if created else {}))
        except FileExistsError as error:
            remedy = "Two attempts of one step ran at once. Run the step again."
            raise InfrastructureError(f"{run_uri}/{name}: another pod wrote this file. {remedy}") from error
        except Exception as error:
            raise StoreUnreachable(run_uri, error) from error


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): digest_of_file(path) for path in files}


def _open(uri: str) -> tuple[AbstractFileSystem, str]:
    import fsspec

    options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False} if is_remote(uri) else {}
    fs, root = fsspec.url_to_fs(uri, **options)
    return fs, str(root).rstrip("/")
