"""Each file of manifests/ is one object, valid by typed models of its kind: what is not known there is refused."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
OPERATORS = {"monitoring.coreos.com", "keda.sh"}  # their CRDs come with the tools: test_overlays.py

Object = dict[str, Any]


def canary(service: Object) -> Object:
    """The InferenceService with a candidate beside it, as a rollout starts."""
    changed = copy.deepcopy(service)
    predictor = copy.deepcopy(changed["spec"]["predictor"]) | {"name": "green"}
    changed["spec"]["canary"] = [{"trafficPercent": 0, "predictor": predictor}]
    return changed


@pytest.fixture
def inference_service(sources: dict[str, Object]) -> Object:
    return copy.deepcopy(sources["components/inference/inferenceservice.yaml"])


def test_each_object_is_valid_by_the_models_of_its_kind(sources: dict[str, Object], schemas: Any) -> None:
    """Core objects by the `kubernetes` package, KServe's by `kserve`; no field is unknown, none required is missing."""
    faults = [
        fault
        for item in sources.values()
        if item["apiVersion"].split("/")[0] not in OPERATORS
        for fault in schemas.faults(item)
    ]
    assert faults == []


def test_each_file_is_named_for_the_kind_it_holds(sources: dict[str, Object]) -> None:
    """`deployment.yaml`, or `role-lease.yaml` where there are two of a kind."""
    misnamed = [path for path, item in sources.items() if Path(path).stem.split("-")[0] != item["kind"].lower()]
    assert misnamed == []


def test_each_file_is_listed_by_its_kustomization(sources: dict[str, Object]) -> None:
    """A file that no kustomization names would never be applied."""
    for path in sources:
        listing = yaml.safe_load((ROOT / "manifests" / path).with_name("kustomization.yaml").read_text("utf-8"))
        assert Path(path).name in listing["resources"], path


def misspell_a_probe(service: Object) -> None:
    service["spec"]["predictor"]["model"]["readinesProbe"] = {}


def send_traffic_by_the_ignored_field(service: Object) -> None:
    service["spec"]["predictor"]["canaryTrafficPercent"] = 10


def send_traffic_by_the_ignored_field_of_the_canary(service: Object) -> None:
    service["spec"]["canary"][0]["predictor"]["canaryTrafficPercent"] = 10


def write_the_canary_as_one_object(service: Object) -> None:
    service["spec"]["canary"] = service["spec"]["canary"][0]


def leave_out_the_weight(service: Object) -> None:
    del service["spec"]["canary"][0]["trafficPercent"]


def write_the_weight_as_text(service: Object) -> None:
    service["spec"]["canary"][0]["trafficPercent"] = "10%"


def leave_out_the_predictor(service: Object) -> None:
    del service["spec"]["predictor"]


def test_an_inference_service_with_a_candidate_is_valid(inference_service: Object, schemas: Any) -> None:
    assert schemas.faults(canary(inference_service)) == []


@pytest.mark.parametrize(
    "break_it",
    [
        misspell_a_probe,
        send_traffic_by_the_ignored_field,
        send_traffic_by_the_ignored_field_of_the_canary,
        write_the_canary_as_one_object,
        leave_out_the_weight,
        write_the_weight_as_text,
        leave_out_the_predictor,
    ],
    ids=lambda function: function.__name__,
)
def test_a_broken_inference_service_is_refused(
    break_it: Callable[[Object], None], inference_service: Object, schemas: Any
) -> None:
    """What KServe in Standard mode would ignore is refused too."""
    service = canary(inference_service)
    break_it(service)
    assert schemas.faults(service) != []


def test_a_misspelt_field_of_a_deployment_is_refused(sources: dict[str, Object], schemas: Any) -> None:
    deployment = copy.deepcopy(sources["components/rollout/deployment.yaml"])
    deployment["spec"]["template"]["spec"]["containers"][0]["resource"] = {}
    assert "'resource' was unexpected" in "".join(schemas.faults(deployment))


def test_no_bundles_address_begins_another() -> None:
    """KServe fetches every object whose key begins as the address does, and a server refuses what no seal names."""
    pages = [path for room in ("manifests", "charts", "docs") for path in (ROOT / room).rglob("*") if path.is_file()]
    texts = [path.read_text("utf-8") for path in [*pages, ROOT / "README.md"] if path.suffix in {".md", ".yaml"}]
    addresses = {found for text in texts for found in re.findall(r"s3://models/[^\s`\"')]+", text)}
    assert {"s3://models/parcel-labelling/first/", "s3://models/parcel-labelling/$DIGEST/"} <= addresses
    assert [(one, other) for one in addresses for other in addresses if other != one and other.startswith(one)] == []
    assert [address for address in addresses if not address.endswith("/")] == []


def test_every_page_applies_manifests_on_the_servers_side() -> None:
    """A client-side apply would put the first version back after a promotion, through an outage."""
    pages = [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
    applied = [line for page in pages for line in page.read_text("utf-8").splitlines()
               if re.match(r"\$ .*kubectl apply\b", line)]  # fmt: skip
    assert [line for line in applied if "-k manifests/overlays/kind" in line]
    assert [line for line in applied if "--server-side" not in line] == []
