"""Volumes that are folders of the node, for clusters that provision none."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def volume(namespace: str, claim: str, folder: Path, *, mode: str = "ReadOnlyMany") -> dict[str, Any]:
    """Return a volume for one claim, which it waits for; it outlives the claim and its namespace."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": volume_name(namespace, claim)},
        "spec": {
            "accessModes": [mode],
            "storageClassName": "",
            "capacity": {"storage": "1Gi"},
            "hostPath": {"path": str(folder), "type": "Directory"},
            "claimRef": {"namespace": namespace, "name": claim},
        },
    }


def volume_name(namespace: str, claim: str) -> str:
    return f"{namespace}-{claim}"


def claimed_volume(namespace: str, claim: str, folder: Path) -> list[dict[str, Any]]:
    """Return a volume and the claim bound to it, which is how `pvc://` models reach a predictor."""
    made = volume(namespace, claim, folder)
    spec = {
        "accessModes": made["spec"]["accessModes"],
        "storageClassName": "",
        "volumeName": made["metadata"]["name"],
        "resources": {"requests": made["spec"]["capacity"]},
    }
    metadata = {"name": claim, "namespace": namespace}
    return [made, {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}]
