"""The control plane of Envoy Gateway, which tests on a busy or a disturbed cluster outlive.

Envoy Gateway 1.9 stops reconciling for good, without ending, once the API server lets its lease run out: the routes
that it knows are served on, and no other one ever is.
"""

from __future__ import annotations

import json
from typing import Any

PLACE = ("--namespace", "envoy-gateway-system")
DEPLOYMENT = "deployment/envoy-gateway"


def restart_gateway(cluster: Any) -> None:
    """Start it anew, and wait until it is ready."""
    cluster.kubectl("rollout", "restart", *PLACE, DEPLOYMENT)
    cluster.kubectl("rollout", "status", *PLACE, DEPLOYMENT, "--timeout=300s")


def revive_gateway(cluster: Any) -> None:
    """Start it anew if it has stopped; a cluster with another gateway, or without an answer, is left alone."""
    found = cluster.kubectl("get", *PLACE, DEPLOYMENT, "-o", "json", check=False)
    if found.returncode == 0 and not json.loads(found.stdout)["status"].get("availableReplicas"):
        restart_gateway(cluster)
