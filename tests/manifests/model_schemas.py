"""JSON schemas made from the typed models of the `kubernetes` and `kserve` packages.

Run as a program it prints the CRDs of KServe, made of the models of the pinned `kserve`, so that a cluster without
KServe's charts takes its objects and refuses unknown fields; with `--kind`, the schema of each core object named. Both
packages warn when imported and take seconds, which is why tests run this in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import re
from typing import Any

Schema = dict[str, Any]

ANYTHING: Schema = {"x-kubernetes-preserve-unknown-fields": True}
QUANTITY: Schema = {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}
PLAIN: dict[str, Schema] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "datetime": {"type": "string", "format": "date-time"},
    "object": ANYTHING,  # integers or strings, and free JSON: the models do not say which
}
# Names under which the `kserve` models speak of types that its package or the older `kubernetes` lacks.
ALIASES = {
    "K8sIoApiAppsV1DeploymentStrategy": "V1DeploymentStrategy",
    "K8sIoApiAutoscalingV2HorizontalPodAutoscalerBehavior": "V2HorizontalPodAutoscalerBehavior",
    "KnativeURL": "str",  # written as its text
    "V1Time": "datetime",
    "V1alpha1WorkerSpec": "V1alpha1ServingRuntimePodSpec",
}
QUANTITIES = {"limits", "requests", "capacity", "hard", "overhead"}
# KServe ignores it without a word in Standard mode, which sends all traffic to an unproved model.
FORBIDDEN = {"canary_traffic_percent"}
KSERVE_KINDS = {
    "InferenceService": ("V1beta1InferenceService", "v1beta1", "inferenceservices", ["isvc"]),
    "ServingRuntime": ("V1alpha1ServingRuntime", "v1alpha1", "servingruntimes", []),
}


def schema_of(type_name: str) -> Schema:
    """Return the schema of a model type, such as `list[V1Container]`; a type that no package has admits anything."""
    type_name = ALIASES.get(type_name, type_name)
    if type_name in PLAIN:
        return dict(PLAIN[type_name])
    if found := re.fullmatch(r"list\[(.*)\]", type_name):
        return {"type": "array", "items": schema_of(found[1])}
    if found := re.fullmatch(r"dict\(str, (.*)\)", type_name):
        return {"type": "object", "additionalProperties": schema_of(found[1])}
    model = _model(type_name)
    return dict(ANYTHING) if model is None else _object(model)


def _model(name: str) -> Any:
    import kubernetes.client

    if model := getattr(kubernetes.client, name, None):
        return model  # no name is in both, and `kserve` takes seconds to import
    import kserve.models

    return getattr(kserve.models, name, None)


def _object(model: Any) -> Schema:
    names = {name: key for name, key in model.attribute_map.items() if name not in FORBIDDEN}
    schema: Schema = {
        "type": "object",
        "properties": {key: _field(name, model.openapi_types[name]) for name, key in names.items()},
    }
    if required := [key for name, key in names.items() if _is_required(model, name)]:
        schema["required"] = required
    return schema


def _field(name: str, type_name: str) -> Schema:
    if name in QUANTITIES and type_name.startswith("dict("):
        return {"type": "object", "additionalProperties": dict(QUANTITY)}
    return schema_of(type_name)


def _is_required(model: Any, name: str) -> bool:
    """Ask the model's own check, the only place where the generated class keeps it."""
    from kubernetes.client import Configuration

    configuration = Configuration()
    configuration.client_side_validation = False
    instance = model(local_vars_configuration=configuration)
    configuration.client_side_validation = True
    try:
        setattr(instance, name, None)
    except ValueError:
        return True
    return False


def custom_resource(kind: str) -> dict[str, Any]:
    """Return the CRD of a KServe kind."""
    type_name, version, plural, short_names = KSERVE_KINDS[kind]
    schema = schema_of(type_name)
    schema["properties"]["metadata"] = {"type": "object"}  # the API server's own, and it allows nothing else here
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.serving.kserve.io"},
        "spec": {
            "group": "serving.kserve.io",
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "shortNames": short_names},
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


def core_schema(name: str) -> Schema:
    """Return the schema of a core object by its model's name, such as `V1Deployment`."""
    if _model(name) is None:
        raise SystemExit(f"{name}: the kubernetes package has no such model")
    return schema_of(name)


def main() -> None:
    """Print the CRDs as a List, or core schemas as one object by name; both are JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--kind", action="append", metavar="MODEL", help="a core model such as V1Deployment; repeatable"
    )
    kinds = parser.parse_args().kind
    if kinds:
        print(json.dumps({name: core_schema(name) for name in kinds}))
    else:
        print(
            json.dumps({"apiVersion": "v1", "kind": "List", "items": [custom_resource(kind) for kind in KSERVE_KINDS]})
        )


if __name__ == "__main__":
    main()
