"""Backups of what a home cannot make anew: registry, features, objects named by their digests, records and labels.

A backup is a folder. SQLite files are copied by SQLite's own online backup, so that a run may write meanwhile; a
PostgreSQL by pg_dump; a log of lines up to its last whole line. A file takes its place once it is complete, so that a
backup that is killed is gone on with by the next one. Restoring writes into a place that is empty, and what came back
is verified against the digests. A home comes back where it was, because registry, promotions and feature store name
absolute paths.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from pydantic import ValidationError

from sextant_components.deployment.backup_files import copy_file, copy_folder, is_whole, whole_files
from sextant_plan import drills, overrides, planning
from sextant_plan.bundle import read_bundle
from sextant_plan.errors import InfrastructureError, UsageError
from sextant_plan.feedback import FEEDBACK_LOG
from sextant_plan.files import write_atomically
from sextant_plan.prediction_log import PREDICTION_LOG
from sextant_plan.schema import Closed

REGISTRY_FILE, REGISTRY_OBJECTS = "mlflow.db", "mlartifacts"
FEATURES_FOLDER, BUNDLES_FOLDER, RUNS_FOLDER = "feast", "bundles", "runs"
ACTIVE_FILE = "active.json"
DUMP_FILE = "registry.dump"
DESCRIPTION_FILE = "backup.json"
# Records that only gain files. Without them a restored home would admit a model whose plan was reopened, refuse one
# that a person let pass, ask for drills that were held, retrain twice for one window, and have no labels.
GAINING = (drills.FOLDER, overrides.FOLDER, planning.FOLDER, "trigger", FEEDBACK_LOG)
# Folders from which their writers remove files too: the wishes for an earlier rollout, and predictions past their time.
CHANGING = ("rollouts", PREDICTION_LOG)
MADE_AGAIN = {
    "pictures": "the pictures of the last snapshot, which are read from the source where they are not kept",
    "sources": "a mirror of a remote source, fetched again; what was trained on is in the runs",
    "tables": "a source's tables as Parquet, staged again",
    "server.log": "the output of the drift demo's server",
    "trigger.token": "a secret, which the drift demo draws anew",
}


class Backup(Closed):
    """The contents of backup.json: the home's absolute path, and when its backup was made, in Unix seconds."""

    schema_version: Literal[1] = 1
    home: str
    made: float


class BackupDamaged(InfrastructureError):
    """A file of a backup that is not what its name says."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path}: the content is not that of its digest. Use an earlier backup; nothing is in service."
        )


def back_up_registry(home: Path, target: Path) -> None:
    """Copy the registry on SQLite and its artifacts."""
    copy_file(home / REGISTRY_FILE, target / REGISTRY_FILE)
    copy_folder(home / REGISTRY_OBJECTS, target / REGISTRY_OBJECTS)


def back_up_features(repo: Path, target: Path) -> None:
    """Copy a feature repository: registry, online store, the events behind it."""
    copy_folder(repo, target)


def back_up_objects(home: Path, target: Path) -> None:
    """Copy bundles and the runs' evidence; an object that is there whole already is the same one, and is left."""
    for folder in (home / BUNDLES_FOLDER, *sorted((home / RUNS_FOLDER).glob("*/artifacts"))):
        for path in whole_files(folder):
            place = target / path.relative_to(home)
            if not place.exists() or place.stat().st_size != path.stat().st_size:
                copy_file(path, place)


def back_up_home(home: Path, target: Path) -> None:
    """Copy all that is needed to go on elsewhere: what is in MADE_AGAIN, and what is no part of a home, is left out.

    Raises UsageError if the backup would lie in the home, with which it would be lost.
    """
    if target.resolve().is_relative_to(home.resolve()):
        raise UsageError(f"{target}: in the home, with which it would be lost. Name a folder elsewhere.")
    back_up_objects(home, target)
    runs = home / RUNS_FOLDER
    for path in whole_files(runs):
        if path.relative_to(runs).parts[1:2] != ("artifacts",):
            copy_file(path, target / path.relative_to(home))
    for name in (*GAINING, *CHANGING):
        copy_folder(home / name, target / name)
    for name in CHANGING:
        _remove_what_is_gone(home / name, target / name)
    for repo in sorted(path for path in (home / FEATURES_FOLDER).glob("*") if path.is_dir()):
        back_up_features(repo, target / FEATURES_FOLDER / repo.name)
    if (home / REGISTRY_FILE).exists():
        back_up_registry(home, target)
    if (home / ACTIVE_FILE).exists():
        copy_file(home / ACTIVE_FILE, target / ACTIVE_FILE)
    # Once more, so that what a run has stored and named meanwhile is in the backup.
    back_up_objects(home, target)
    said = Backup(home=str(home.resolve()), made=time.time())
    write_atomically(target / DESCRIPTION_FILE, (said.model_dump_json() + "\n").encode())


def strangers(home: Path) -> list[str]:
    """Return the names in a home that no part of Sextant writes there, and that no backup holds."""
    known = {BUNDLES_FOLDER, RUNS_FOLDER, FEATURES_FOLDER, REGISTRY_FILE, REGISTRY_OBJECTS, ACTIVE_FILE}
    known |= {*GAINING, *CHANGING, *MADE_AGAIN, DESCRIPTION_FILE, DUMP_FILE}  # the last two after a restore
    return sorted(path.name for path in home.iterdir() if path.name not in known and is_whole(path.name))


def restore_home(backup: Path) -> Path:
    """Write a backup back to where its home was, which must be empty or absent; return that path.

    Raises UsageError if it is not, or if the folder is no whole backup; BundleCorrupt and BackupDamaged before anything
    is written.
    """
    try:
        home = Path(Backup.model_validate_json((backup / DESCRIPTION_FILE).read_bytes()).home)
    except (FileNotFoundError, ValidationError) as error:
        raise UsageError(f"{backup}: no {DESCRIPTION_FILE} of a whole backup here. Name another folder.") from error
    verify_objects(backup)
    restore(backup, home)
    return home


def restore(backup: Path, target: Path) -> None:
    """Copy a backup into a place that is empty or absent. Raises UsageError if it is not."""
    if target.exists() and any(target.iterdir()):
        raise UsageError(f"{target}: not empty. Move it aside first; what is there may be needed once more.")
    target.mkdir(parents=True, exist_ok=True)
    for path in whole_files(backup):
        place = target / path.relative_to(backup)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, place)


def verify_objects(root: Path) -> int:
    """Check every bundle and every piece of evidence below `root` against its digest; return how many there are.

    Raises BundleCorrupt and BackupDamaged.
    """
    count = 0
    for description in sorted((root / BUNDLES_FOLDER).glob("*/*/bundle.json")):
        if not is_whole(description.parent.name):
            continue
        found = read_bundle(description.parent)
        if found.digest.removeprefix("sha256:") != description.parent.name:
            raise BackupDamaged(description.parent)
        count += 1
    for path in sorted((root / RUNS_FOLDER).glob("*/artifacts/sha256/*")):
        if not is_whole(path.name):
            continue
        if hashlib.sha256(path.read_bytes()).hexdigest() != path.name:
            raise BackupDamaged(path)
        count += 1
    return count


def dump_postgresql(address: str, target: Path) -> None:
    """Write a dump of a PostgreSQL database, as of one moment, with pg_dump. Raises InfrastructureError."""
    target.mkdir(parents=True, exist_ok=True)
    _call("pg_dump", "--format=custom", "--no-owner", f"--file={target / DUMP_FILE}", f"--dbname={address}")


def restore_postgresql(backup: Path, address: str) -> None:
    """Read a dump back into an empty PostgreSQL database, all of it or nothing. Raises InfrastructureError."""
    _call(
        "pg_restore", "--no-owner", "--exit-on-error", "--single-transaction", f"--dbname={address}",
        str(backup / DUMP_FILE),
    )  # fmt: skip


def fingerprint_postgresql(address: str) -> dict[str, str]:
    """Return a digest of the rows of each table, by the table's name, so that two databases can be compared."""
    listed = _call("psql", address, "-At", "-c", "select format('%I.%I', schemaname, tablename) from pg_tables "
                   "where schemaname not in ('pg_catalog', 'information_schema') order by 1")  # fmt: skip
    rows = "select count(*) || ':' || coalesce(md5(string_agg(t::text, e'\\n' order by t::text)), '') from {} t"
    return {name: _call("psql", address, "-At", "-c", rows.format(name)).strip() for name in listed.split()}


@contextmanager
def scratch_postgresql(address: str) -> Iterator[str]:
    """Give the address of an empty database beside another on the same server, removed after the block.

    The user of the address needs the right to create databases. Raises InfrastructureError.
    """
    name = f"sextant_drill_{secrets.token_hex(6)}"
    parts = urlsplit(address)
    _call("psql", address, "-qc", f'create database "{name}"')
    try:
        yield urlunsplit(parts._replace(path=f"/{name}"))
    finally:
        _call("psql", address, "-qc", f'drop database "{name}"')


def _call(*command: str) -> str:
    """Run a program of PostgreSQL's client and return its output; a failure names the program, not the address."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise InfrastructureError(f"{command[0]}: not installed. Install the client tools of PostgreSQL.") from error
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["no word why"])[-1]
        raise InfrastructureError(f"{command[0]}: {said}. Is the address right, and the server as new as the client?")
    return done.stdout


def _remove_what_is_gone(source: Path, target: Path) -> None:
    for path in whole_files(target) if source.is_dir() else ():
        if not (source / path.relative_to(target)).exists():
            path.unlink()
