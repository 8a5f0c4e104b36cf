"""What there is to run on: a cluster's allocatable resources where KUBECONFIG names one, else this machine's."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

TIMEOUT_SECONDS = 10
GPU = "nvidia.com/gpu"


@dataclass(frozen=True)
class Capacity:
    """The most that one pod or process can have: cores, memory in bytes, GPUs; `place` says where."""

    place: str
    cpu: float
    memory: int
    gpu: int


def capacity() -> Capacity | None:
    """Return the largest node of the cluster that KUBECONFIG names, or this machine; None if the cluster is silent."""
    if os.environ.get("KUBECONFIG"):
        return _largest_node()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    gpus = len(list(Path("/dev").glob("nvidia[0-9]*")))
    return Capacity("this machine", os.cpu_count() or 1, memory, gpus)


def _largest_node() -> Capacity | None:
    from kubernetes import client, config
    from kubernetes.utils.quantity import parse_quantity
    from urllib3.exceptions import HTTPError

    try:
        # The client library reads KUBECONFIG once, when it is imported: too early for a variable set later.
        api = client.CoreV1Api(config.new_client_from_config(os.environ["KUBECONFIG"]))
        nodes = api.list_node(_request_timeout=TIMEOUT_SECONDS).items
    except (client.ApiException, config.ConfigException, HTTPError, OSError):
        return None
    found = []
    for node in nodes:
        if node.spec.unschedulable:
            continue
        amounts = {name: float(parse_quantity(text)) for name, text in node.status.allocatable.items()}
        place = f"node {node.metadata.name}"
        found.append(Capacity(place, amounts["cpu"], int(amounts["memory"]), int(amounts.get(GPU, 0))))
    return max(found, key=lambda each: (each.gpu, each.memory, each.cpu), default=None)
