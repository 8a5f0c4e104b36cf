"""The controller's lease, and a rollout's documents, on a real API server: who is second is told so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sextant_plan.acceptance import AcceptanceRecord
from sextant_serving.rollout.annotations import AnnotationState, ServiceDocuments, StateMoved
from sextant_serving.rollout.kserve import KServeTraffic, ServiceUnfit, service_path
from sextant_serving.rollout.kube import ApiFailed, Kube
from sextant_serving.rollout.lease import LEASE_SECONDS, Lease
from sextant_serving.rollout.release import Release
from sextant_serving.rollout.state import Phase, RolloutState

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
DIGEST = "sha256:" + "b" * 64


@pytest.fixture
def kube(cluster: Any) -> Kube:
    """A connection by KUBECONFIG."""
    return Kube()


@pytest.fixture
def service(cluster: Any, kserve_crds: None) -> Iterator[str]:
    """An InferenceService that nobody reconciles."""
    name = "parcels"
    model = {"modelFormat": {"name": "sextant"}, "runtime": "sextant", "storageUri": "pvc://bundles/a"}
    cluster.apply(
        {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": name, "namespace": cluster.namespace},
            "spec": {
                "predictor": {
                    "name": "blue",
                    "minReplicas": 1,
                    "maxReplicas": 4,
                    "model": {**model, "args": ["--variant=blue", "--threads=2"]},
                }
            },
        }
    )
    yield name
    cluster.kubectl("delete", "inferenceservice", name)


def release() -> Release:
    return Release(
        name="parcels", version="2", bundle_version="v", digest=DIGEST, bundle="-", feature_repo=None, run_id="run",
        plan={}, plan_hash="-", decision=[], sequence=0, replaces=None,
    )  # fmt: skip


def test_of_two_controllers_one_holds_the_lease(cluster: Any, kube: Kube) -> None:
    """The other gets it once the first has given it back, or was not heard of for the lease's time."""
    now = [0.0]
    first, second = (Lease(kube, cluster.namespace, "one", name, lambda: now[0]) for name in ("first", "second"))
    assert [first.hold(), second.hold(), first.hold()] == [True, False, True]
    first.release()
    assert [second.hold(), first.hold()] == [True, False]
    now[0] += LEASE_SECONDS - 1
    assert not first.hold()
    second.hold()
    now[0] += 2
    assert not first.hold(), "a renewed lease has not run out"
    now[0] += LEASE_SECONDS + 1
    assert first.hold()


def test_a_controller_that_was_overtaken_cannot_save(cluster: Any, kube: Kube, service: str) -> None:
    """Its save tests the very text that it loaded, so nothing is overwritten."""
    mine, other = (AnnotationState(kube, cluster.namespace, service) for _ in range(2))
    cluster.kubectl("annotate", "inferenceservice", service, "sextant.dev/release=none")
    assert mine.load() is None
    state = RolloutState(digest=DIGEST, began=1.0, deadline=2.0)
    mine.save(state)
    assert other.load() == state
    moved = state.model_copy(update={"phase": Phase.STARTING})
    mine.save(moved)
    with pytest.raises(StateMoved):
        other.save(state.model_copy(update={"phase": Phase.REFUSED}))
    assert other.load() == moved


def test_a_submitted_release_is_a_canary_without_traffic(cluster: Any, kube: Kube, service: str) -> None:
    """The stable predictor under another name, with the new bundle; what was asked of the last release is forgotten."""
    documents = ServiceDocuments(kube, cluster.namespace, service)
    cluster.kubectl("annotate", "inferenceservice", service, "sextant.dev/abort=true")
    submitted = documents.submit(release(), "pvc://bundles/b")
    (canary,) = cluster.get("inferenceservice", service)["spec"]["canary"]
    assert canary["trafficPercent"] == 0
    assert canary["predictor"]["name"] == "green"
    assert canary["predictor"]["model"]["args"] == ["--variant=green", "--threads=2"]
    assert canary["predictor"]["model"]["storageUri"] == "pvc://bundles/b"
    assert canary["predictor"]["minReplicas"] == 1
    assert documents.release() == submitted
    assert (submitted.stable, submitted.canary) == ("blue", "green")
    documents.wish(lambda wishes: wishes.model_copy(update={"acceptance": AcceptanceRecord(signed_by="ada")}))
    noted = cluster.get("inferenceservice", service)["metadata"]["annotations"]
    assert noted["sextant.dev/abort"] == "false"
    assert '"signed_by":"ada"' in noted["sextant.dev/acceptance"]
    with pytest.raises(ServiceUnfit, match="a canary already"):
        documents.submit(release(), "pvc://bundles/b")


def test_a_refusal_is_told_in_the_words_of_who_refuses(cluster: Any, kube: Kube, service: str) -> None:
    """KServe's webhook says which field it does not take; a bare status would leave people guessing."""
    taken = {"trafficPercent": 0, "predictor": {**cluster.get("inferenceservice", service)["spec"]["predictor"]}}
    with pytest.raises(ApiFailed, match="fixed replicas"):
        kube.patch(service_path(cluster.namespace, service), [{"op": "add", "path": "/spec/canary", "value": [taken]}])


def test_promotion_and_withdrawal_change_one_thing_and_may_be_repeated(cluster: Any, kube: Kube, service: str) -> None:
    """What was done is not done again; a canary that somebody else put there is left alone."""
    documents = ServiceDocuments(kube, cluster.namespace, service)
    submitted = documents.submit(release(), "pvc://bundles/b")
    traffic = KServeTraffic(kube, cluster.namespace, service, {"stable": "blue", "canary": "green"})
    traffic.set_weight(25)
    before = cluster.get("inferenceservice", service)["metadata"]["resourceVersion"]
    traffic.set_weight(25)
    assert cluster.get("inferenceservice", service)["metadata"]["resourceVersion"] == before
    stranger = KServeTraffic(kube, cluster.namespace, service, {"stable": "blue", "canary": "red"})
    with pytest.raises(ServiceUnfit, match="no canary red"):
        stranger.set_weight(100)
    stranger.remove_canary()
    for _ in range(2):
        traffic.replace_stable()
    spec = cluster.get("inferenceservice", service)["spec"]
    assert spec["predictor"]["name"] == submitted.canary
    assert spec["predictor"]["maxReplicas"] == 4, "what a canary must not have is the stable predictor's again"
    assert "canary" not in spec
    for _ in range(2):
        traffic.remove_canary()
