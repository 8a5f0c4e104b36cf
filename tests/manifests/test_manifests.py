"""The manifests build, hold Pod Security's restricted level, and name no field that KServe does not know."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
BASES = sorted(path.parent for path in (ROOT / "manifests").rglob("kustomization.yaml"))
KSERVE_TYPES = {"ServingRuntime": "V1alpha1ServingRuntime", "InferenceService": "V1beta1InferenceService"}


def objects(folder: Path) -> list[dict[str, Any]]:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed; it builds the kustomizations")
    built = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, check=True)
    return [document for document in yaml.safe_load_all(built.stdout) if document]


def containers(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    spec = document.get("spec", {})
    yield from spec.get("containers", [])
    yield from spec.get("template", {}).get("spec", {}).get("containers", [])


def unknown_fields(value: Any, type_name: str, path: str) -> Iterator[str]:
    """Yield the path of every field that the kserve package's model of this type does not have."""
    import kserve
    from kubernetes import client

    listed = re.fullmatch(r"list\[(.*)\]", type_name)
    if listed:
        for index, item in enumerate(value):
            yield from unknown_fields(item, listed[1], f"{path}[{index}]")
        return
    model = getattr(kserve, type_name, None) or getattr(client, type_name, None)
    if model is None or not isinstance(value, dict):
        return
    types = {model.attribute_map[name]: kind for name, kind in model.openapi_types.items()}
    for key, inner in value.items():
        if key not in types:
            yield f"{path}.{key}"
        else:
            yield from unknown_fields(inner, types[key], f"{path}.{key}")


@pytest.mark.parametrize("folder", BASES, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_a_kustomization_builds_objects_with_recommended_labels(folder: Path) -> None:
    """Every object says that it is part of Sextant."""
    built = objects(folder)
    assert built
    assert all(item["metadata"]["labels"]["app.kubernetes.io/part-of"] == "sextant" for item in built)


@pytest.mark.parametrize("folder", BASES, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_containers_hold_the_restricted_level(folder: Path) -> None:
    """Non-root by number, no privilege gained, no capability, the runtime's seccomp profile, limits and probes."""
    found = [container for item in objects(folder) for container in containers(item)]
    assert found
    for container in found:
        security = container["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] > 0
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert {"cpu", "memory"} <= container["resources"]["limits"].keys()
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()


@pytest.mark.parametrize("folder", BASES, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_kserve_objects_have_no_unknown_field(folder: Path) -> None:
    """A misspelt field is found here and not ignored by the cluster."""
    for item in objects(folder):
        if item["kind"] in KSERVE_TYPES:
            assert list(unknown_fields(item, KSERVE_TYPES[item["kind"]], item["kind"])) == []


def test_a_misspelt_field_is_found() -> None:
    """The check above sees a fault deep in an object."""
    item = {"spec": {"supportedModelFormats": [{"name": "sextant", "versoin": "1"}], "containers": [{"imagee": "x"}]}}
    found = list(unknown_fields(item, "V1alpha1ServingRuntime", "ServingRuntime"))
    assert found == [
        "ServingRuntime.spec.supportedModelFormats[0].versoin",
        "ServingRuntime.spec.containers[0].imagee",
    ]
