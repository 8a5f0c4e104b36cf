"""The connection to MLflow, and ledgers in it whose every key is written once.

Without `MLFLOW_TRACKING_URI` the store is `mlflow.db` in the home, with artifacts beside it.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import warnings
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sextant_plan.files import locked

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

DATABASE_FILE = "mlflow.db"
ARTIFACT_FOLDER = "mlartifacts"
LEDGERS = "sextant-ledgers"
LEDGER_RUN_TAG = "sextant.ledger_run"


@dataclass(frozen=True)
class WriteOnceLedger:
    """Parameters of one MLflow run: MLflow refuses a second value for a key, also from another process."""

    client: MlflowClient
    run_id: str

    def read(self) -> dict[str, str]:
        """Return every key that was written."""
        return dict(self.client.get_run(self.run_id).data.params)

    def write(self, key: str, value: str) -> bool:
        """Write a key; tell whether it now holds `value`, which is false if another value was there first."""
        from mlflow.exceptions import MlflowException

        try:
            self.client.log_param(self.run_id, key, value)
        except MlflowException:
            found = self.read().get(key)
            if found is None:
                raise
            return found == value
        return True


@dataclass(frozen=True)
class MlflowStore:
    """An open MLflow; `artifact_root` is a URI, None where a tracking server decides on it."""

    client: MlflowClient
    artifact_root: str | None

    @property
    def is_local(self) -> bool:
        """Whether it lies in the home, and its artifacts too; else a tracking server holds it for many machines."""
        return self.artifact_root is not None

    def experiment(self, name: str) -> str:
        """Return the id of an experiment, created if it is not there."""
        found = self.client.get_experiment_by_name(name)
        if found is None:
            self._create_experiment(name, {})
            found = self.client.get_experiment_by_name(name)
            assert found is not None
        return str(found.experiment_id)

    def ledger(self, name: str) -> WriteOnceLedger:
        """Return the one ledger of this name, created if it is not there.

        Run names are not unique, so two processes could make two ledgers. Experiment names are: an
        experiment of the ledger's name is created together with the tag that says which run won.
        """
        title = f"{LEDGERS}/{name}"
        found = self.client.get_experiment_by_name(title)
        if found is None:
            run = self.client.create_run(self.experiment(LEDGERS), run_name=name)
            self.client.set_terminated(run.info.run_id)
            if not self._create_experiment(title, {LEDGER_RUN_TAG: run.info.run_id}):
                self.client.delete_run(run.info.run_id)
            found = self.client.get_experiment_by_name(title)
            assert found is not None
        return WriteOnceLedger(self.client, found.tags[LEDGER_RUN_TAG])

    def _create_experiment(self, name: str, tags: dict[str, str]) -> bool:
        from mlflow.exceptions import MlflowException

        location = f"{self.artifact_root}/{name}" if self.artifact_root else None
        try:
            self.client.create_experiment(name, artifact_location=location, tags=tags)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            return False
        return True


@cache
def connect(home: Path) -> MlflowStore:
    """Open the MLflow of this home; the database is created or upgraded first.

    The upgrade runs under a lock because MLflow's own first open fails when two processes do it at once.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    address = os.environ.get("MLFLOW_TRACKING_URI")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside mlflow and sqlalchemy, which the user cannot mend
        from mlflow.tracking import MlflowClient

        if address:
            return MlflowStore(MlflowClient(tracking_uri=address), None)
        home.mkdir(parents=True, exist_ok=True)
        address = f"sqlite:///{(home / DATABASE_FILE).resolve()}"
        with locked(home / f"{DATABASE_FILE}.lock"):
            _make_current(home / DATABASE_FILE)
            client = MlflowClient(tracking_uri=address, registry_uri=address)
            client.search_experiments(max_results=1)
            client.search_registered_models(max_results=1)
    return MlflowStore(client, (home / ARTIFACT_FOLDER).resolve().as_uri())


def _make_current(database: Path) -> None:
    """Bring the database to this MLflow's schema, beside its place, and move it there whole.

    SQLite keeps what a migration did before the process was killed, and MLflow then finds tables that it wants to
    create: nobody could open such a database again. What a killed process left beside the place is thrown away.
    """
    if _revision(database) == _latest_revision():
        return
    draft = database.with_name(f".{database.name}.draft")
    for leftover in database.parent.glob(f"{draft.name}*"):
        leftover.unlink()
    if database.exists():
        with closing(sqlite3.connect(database)) as old, closing(sqlite3.connect(draft)) as new:
            old.backup(new)
    _upgrade(f"sqlite:///{draft.resolve()}")
    draft.replace(database)


def _revision(database: Path) -> str | None:
    """Return the revision of a database's schema; None if it has none."""
    if not database.exists():
        return None
    with closing(sqlite3.connect(database)) as connection:
        try:
            found = connection.execute("select version_num from alembic_version").fetchone()
        except sqlite3.OperationalError:
            return None
    return str(found[0]) if found else None


def _latest_revision() -> str | None:
    from alembic.script import ScriptDirectory
    from mlflow.store import db_migrations

    return ScriptDirectory(str(Path(db_migrations.__file__).parent)).get_current_head()


def _upgrade(address: str) -> None:
    """Do what `mlflow db upgrade` does."""
    from mlflow.db import upgrade

    assert upgrade.callback is not None
    upgrade.callback(address)
