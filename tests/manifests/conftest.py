"""The objects of manifests/ as files, as kustomize builds them and as Helm renders them; schemas to hold them to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from tests.programs import TOOLS_SCRIPT, lacks, program
from yaml.constructor import SafeConstructor

ROOT = Path(__file__).parents[2]
TOOLS = Path(os.environ.get("SEXTANT_TOOLS", Path.home() / ".cache" / "sextant-tools"))
SCRIPT = ROOT / "tests" / "manifests" / "model_schemas.py"
CORE_MODELS = {
    ("v1", "ConfigMap"): "V1ConfigMap",
    ("v1", "Namespace"): "V1Namespace",
    ("v1", "PersistentVolumeClaim"): "V1PersistentVolumeClaim",
    ("v1", "Secret"): "V1Secret",
    ("v1", "Service"): "V1Service",
    ("v1", "ServiceAccount"): "V1ServiceAccount",
    ("apps/v1", "Deployment"): "V1Deployment",
    ("apps/v1", "StatefulSet"): "V1StatefulSet",
    ("batch/v1", "CronJob"): "V1CronJob",
    ("batch/v1", "Job"): "V1Job",
    ("networking.k8s.io/v1", "NetworkPolicy"): "V1NetworkPolicy",
    ("policy/v1", "PodDisruptionBudget"): "V1PodDisruptionBudget",
    ("rbac.authorization.k8s.io/v1", "ClusterRole"): "V1ClusterRole",
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"): "V1ClusterRoleBinding",
    ("rbac.authorization.k8s.io/v1", "Role"): "V1Role",
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): "V1RoleBinding",
}

OPERATOR_KINDS = (
    "alertmanagerconfigs",
    "alertmanagers",
    "podmonitors",
    "prometheuses",
    "prometheusrules",
    "scaledobjects",
    "servicemonitors",
)

PLACES = ("base", "components/*", "overlays/kubeflow")  # the other overlays hold patches
OTHERS = ("kustomization.yaml", "gpu/inferenceservice.yaml")  # the second is a patch

Object = dict[str, Any]
Kind = tuple[str, str]


class CrdLoader(yaml.CSafeLoader):
    """YAML 1.1 gives a bare `=` a meaning of its own, and a CRD lists it among the values of an enum."""


CrdLoader.yaml_constructors = CrdLoader.yaml_constructors | {
    "tag:yaml.org,2002:value": SafeConstructor.construct_yaml_str
}


def closed(schema: Any) -> Any:
    """Return the schema with every object closed, which is what a strict API server makes of it."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        result.setdefault("additionalProperties", False)
    return result


@dataclass
class Schemas:
    """Strict schemas by API version and kind."""

    by_kind: dict[Kind, Any] = field(default_factory=dict)

    def add_crd(self, crd: Object) -> None:
        """Take in every served version of a CRD; the API server itself knows the three top-level fields."""
        for version in crd["spec"]["versions"]:
            schema = closed(version["schema"]["openAPIV3Schema"])
            schema["properties"] |= {"apiVersion": {}, "kind": {}, "metadata": {"type": "object"}}
            self.by_kind[f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"]] = schema

    def knows(self, item: Object) -> bool:
        """Tell whether there is a schema for the object's kind."""
        return (item["apiVersion"], item["kind"]) in self.by_kind

    def faults(self, item: Object) -> list[str]:
        """Return what is wrong with an object, one line a fault; raises KeyError for an unknown kind."""
        validator = jsonschema.Draft202012Validator(self.by_kind[item["apiVersion"], item["kind"]])
        return [f"{item['kind']} {item['metadata']['name']}: {fault.json_path}: {fault.message[:200]}"
                for fault in validator.iter_errors(item)]  # fmt: skip


def _schemas_of_models(*arguments: str) -> Any:
    done = subprocess.run([sys.executable, "-W", "ignore", SCRIPT, *arguments], capture_output=True, check=True)
    return json.loads(done.stdout)


@pytest.fixture(scope="session")
def schemas() -> Schemas:
    """Schemas of the core and KServe kinds, made of the typed models of the pinned packages."""
    known = Schemas()
    core = _schemas_of_models(*(part for model in CORE_MODELS.values() for part in ("--kind", model)))
    known.by_kind = {kind: closed(core[model]) for kind, model in CORE_MODELS.items()}
    for crd in _schemas_of_models()["items"]:
        known.add_crd(crd)
    return known


def source_objects() -> dict[str, Object]:
    """Return each object that base and components hold as a file, by its path below manifests/."""
    folder = ROOT / "manifests"
    files = [file for place in PLACES for file in folder.glob(f"{place}/*.yaml")]
    found = {str(file.relative_to(folder)): yaml.safe_load(file.read_text("utf-8")) for file in sorted(files)}
    objects = {path: item for path, item in found.items() if "apiVersion" in item and "kind" in item}
    return {path: item for path, item in objects.items() if not path.endswith(OTHERS)}


@pytest.fixture(scope="session")
def sources() -> dict[str, Object]:
    """Each object that base, components and the overlay of the runs hold as a file, by its path below manifests/."""
    return source_objects()


def tool(name: str) -> str:
    """Return a program of tests/manifests/tools.sh or of PATH; without it tests are skipped, or fail in CI."""
    return program(name, path=f"{TOOLS / 'bin'}:{os.environ['PATH']}")


@pytest.fixture(scope="session")
def overlay() -> Callable[[str], list[Object]]:
    """Return the objects of an overlay by its name, as kustomize builds them."""
    kustomize = tool("kustomize")

    @cache
    def build(name: str) -> list[Object]:
        folder = ROOT / "manifests" / "overlays" / name
        built = subprocess.run([kustomize, "build", folder], capture_output=True, text=True, check=False)
        assert built.returncode == 0, built.stderr
        return list(yaml.safe_load_all(built.stdout))

    return build


@pytest.fixture(scope="session")
def helm() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run helm with the arguments given; `check` shows what it said when it fails."""
    program = tool("helm")

    def run(*arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def operator_schemas() -> Schemas:
    """Schemas of the Prometheus operator's, KEDA's and the Gateway API's kinds, from the CRDs of their Go modules."""
    known = Schemas()
    for kind in OPERATOR_KINDS:
        files = sorted((TOOLS / "crds").glob(f"*_{kind}.yaml"))
        if not files:
            lacks(f"the CRD of {kind}: {TOOLS_SCRIPT}")
        # Fixed names in a folder of the tests' own, and a safe loader with one more scalar.
        known.add_crd(yaml.load(files[0].read_text("utf-8"), Loader=CrdLoader))
    return known
