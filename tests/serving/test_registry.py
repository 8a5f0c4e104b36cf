"""The registry on a real MLflow database: one version for a bundle, one winner for a place in the sequence."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from sextant_plan.errors import InfrastructureError
from sextant_plan.promotion import Promotion, PromotionLost
from sextant_serving.registry import CANDIDATE, CHAMPION, DIGEST_TAG, Registry, open_registry

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64
CONNECT = "import sys; from pathlib import Path; from sextant_serving.mlflow_store import connect; "


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database, made by two processes at once."""
    folder = tmp_path_factory.mktemp("mlflow")
    command = [sys.executable, "-c", CONNECT + "connect(Path(sys.argv[1])).ledger('both')", str(folder)]
    processes = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(280) for process in processes] == [0, 0]
    return folder / "mlflow.db"


def test_a_process_killed_before_the_database_is_whole_leaves_none(tmp_path: Path) -> None:
    """It is made beside its place, so that the next process begins anew instead of finding half of the tables."""
    kill = "import os, signal; import sextant_serving.mlflow_store as s; upgrade = s._upgrade; "
    kill += "s._upgrade = lambda address: (upgrade(address), os.kill(os.getpid(), signal.SIGKILL)); "
    killed = subprocess.run(
        [sys.executable, "-c", CONNECT + kill + "connect(Path(sys.argv[1]))", str(tmp_path)], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "mlflow.db").exists()
    (draft,) = tmp_path.glob(".mlflow.db.draft")
    with closing(sqlite3.connect(draft)) as half:  # as it is when the kill comes in the middle
        half.execute("drop table alembic_version")
    again = subprocess.run([sys.executable, "-c", CONNECT + "connect(Path(sys.argv[1]))", str(tmp_path)], check=False)
    assert again.returncode == 0
    assert (tmp_path / "mlflow.db").exists()
    assert not draft.exists()


@pytest.fixture
def registry(tmp_path: Path, database: Path) -> Registry:
    """A registry without models."""
    shutil.copyfile(database, tmp_path / "mlflow.db")
    return open_registry(tmp_path)


def _promotion(version: str, *, sequence: int = 1, digest: str = ONE, replaces: str | None = None) -> Promotion:
    return Promotion(
        sequence=sequence,
        name="bars",
        version=version,
        digest=digest,
        replaces=replaces,
        bundle="/bundles/bars",
        feature_repo=None,
        run_id="r1",
        plan_hash="sha256:" + "a" * 64,
        decision="sha256:" + "b" * 64,
        decided=1.0,
    )


def _register(registry: Registry, digest: str) -> str:
    return registry.register("bars", digest=digest, source="file:///bundles/bars", tags={"sextant.code": "0"})


def _alias(registry: Registry, alias: str) -> str:
    return str(registry.store.client.get_model_version_by_alias("bars", alias).version)


def test_a_bundle_is_one_version_however_often_it_is_registered(registry: Registry) -> None:
    """Registering is idempotent by digest, and the latest registered version is the candidate."""
    assert [_register(registry, digest) for digest in (ONE, TWO, ONE)] == ["1", "2", "1"]
    assert _alias(registry, CANDIDATE) == "1"
    assert registry.digest_of("bars", "2") == TWO
    assert registry.digest_of("bars", "3") is None


def test_a_version_left_by_a_killed_registration_is_taken_over(registry: Registry) -> None:
    """A process killed between creating the version and binding it leaves no second version behind."""
    registry.store.client.create_registered_model("bars")
    registry.store.client.create_model_version("bars", "file:///bundles/bars", tags={DIGEST_TAG: ONE})
    assert _register(registry, ONE) == "1"
    assert len(registry.store.client.search_model_versions("name = 'bars'")) == 1


def test_of_two_promotions_at_once_one_wins_and_the_other_is_told(registry: Registry) -> None:
    """Both claim the first place; the ledger, the alias and the loser's error agree on the winner."""
    versions = [_register(registry, digest) for digest in (ONE, TWO)]
    start, lost, won = threading.Barrier(2), list[PromotionLost](), list[str]()

    def promote(version: str, digest: str) -> None:
        start.wait()
        try:
            registry.promote(_promotion(version, digest=digest))
            won.append(version)
        except PromotionLost as error:
            lost.append(error)

    threads = [threading.Thread(target=promote, args=pair) for pair in zip(versions, (ONE, TWO), strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == len(lost) == 1
    assert [promotion.version for promotion in registry.history("bars")] == won
    assert _alias(registry, CHAMPION) == won[0]
    assert lost[0].exit_code == 1
    assert f"version {won[0]} is live" in str(lost[0])


def test_the_same_promotion_again_changes_nothing(registry: Registry) -> None:
    """A rollout that was killed after its record can be run again."""
    _register(registry, ONE)
    assert registry.promote(_promotion("1")) == registry.promote(_promotion("1"))


def test_the_alias_is_repaired_from_the_ledger(registry: Registry) -> None:
    """An alias that somebody moved is a copy; the ledger decides."""
    for digest in (ONE, TWO):
        _register(registry, digest)
    registry.promote(_promotion("1"))
    registry.store.client.set_registered_model_alias("bars", CHAMPION, "2")
    registry.repair("bars")
    assert _alias(registry, CHAMPION) == "1"
    champion = registry.champion("bars")
    assert champion is not None
    assert champion.version == "1"


def test_a_ledger_with_something_else_in_it_is_an_error(registry: Registry) -> None:
    """An unreadable promotion is not an absent one: nothing is promoted over it."""
    registry.store.ledger("model/bars").write("seq-0001", "{}")
    with pytest.raises(InfrastructureError, match="seq-0001 of the promotion ledger is no promotion record"):
        registry.champion("bars")


def test_two_processes_share_one_ledger(database: Path) -> None:
    """The module's database was opened by two processes at once: the ledger's name elected one run."""
    store = open_registry(database.parent).store
    ledger = store.ledger("both")
    assert ledger.write("key", "first")
    assert not store.ledger("both").write("key", "second")
    assert ledger.read() == {"key": "first"}
