"""Which version is in service where no server follows the home."""

from __future__ import annotations

from pathlib import Path

import pytest

from sextant_components.deployment.bundle_store import bundle_folder
from sextant_components.deployment.in_service import model_in_service
from sextant_plan.errors import InfrastructureError
from sextant_plan.promotion import ActiveModel, Promotion, write_active
from sextant_serving.errors import NothingActive
from sextant_serving.registry import open_registry


@pytest.fixture
def promoted(home: Path) -> ActiveModel:
    """What the home serves, while a rollout controller has promoted version 2 in the registry since."""
    first = Promotion(
        sequence=1,
        name="bars",
        version="1",
        digest="sha256:" + "1" * 64,
        replaces=None,
        bundle="/bundles/1",
        feature_repo=None,
        run_id="r1",
        plan_hash="sha256:" + "a" * 64,
        decision="sha256:" + "b" * 64,
        decided=1.0,
    )
    then = {"sequence": 2, "version": "2", "digest": "sha256:" + "2" * 64, "replaces": "1", "bundle": "/bundles/2"}
    registry = open_registry(home)
    for digest in (first.digest, str(then["digest"])):
        registry.register("bars", digest=digest, source="file:///bundles/bars", tags={})
    for each in (first, first.model_copy(update=then)):
        registry.promote(each)
    active = ActiveModel(name="bars", version="1", digest=first.digest, bundle="/bundles/1", sequence="seq-0001")
    write_active(home, active)
    return active


def test_a_promotion_on_a_server_counts_before_the_home(
    home: Path, promoted: ActiveModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster's rollout controller writes the registry alone; its bundle may have been promoted from another home."""
    assert model_in_service(home, "bars").version == promoted.version
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home / 'mlflow.db'}")
    with pytest.raises(InfrastructureError, match="bundle of bars 2, which is in service, is not here"):
        model_in_service(home, "bars")
    bundle = bundle_folder(home, "bars", "sha256:" + "2" * 64)
    bundle.mkdir(parents=True)
    found = model_in_service(home, "bars")
    assert (found.version, found.bundle) == ("2", str(bundle))


def test_before_the_first_promotion_nothing_is_in_service(home: Path) -> None:
    with pytest.raises(NothingActive):
        model_in_service(home, "bars")


def test_a_registry_that_is_away_is_no_verdict(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the version of some older rollout would be judged."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(InfrastructureError, match="MLFLOW_TRACKING_URI"):
        model_in_service(home, "bars")
