"""The controller's process, as `sextant rollout controller` starts it."""

from __future__ import annotations

import logging
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

LEASE_NAME = "sextant-rollout"
POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True)
class ControllerOptions:
    """What the controller is told; `scrape_interval` is in seconds."""

    home: Path
    namespace: str
    prometheus: str
    scrape_interval: float
    lease_namespace: str | None
    metrics_port: int


def serve_controller(options: ControllerOptions) -> None:
    """Run the controller until SIGTERM or SIGINT. Raises ApiFailed if there is no cluster to talk to."""
    from prometheus_client import CollectorRegistry, start_http_server

    from sextant_serving.registry import open_registry
    from sextant_serving.rollout.cluster import ClusterRollouts
    from sextant_serving.rollout.controller import Controller, ControllerMetrics, run_controller
    from sextant_serving.rollout.kube import Kube
    from sextant_serving.rollout.lease import Lease

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    kube, series = Kube(), CollectorRegistry()
    registry = open_registry(options.home)
    rollouts = ClusterRollouts(
        kube, registry, options.home, options.namespace, options.prometheus.rstrip("/"), options.scrape_interval
    )
    lease = Lease(kube, options.lease_namespace or _own_namespace(options.namespace), LEASE_NAME, _identity())
    server, thread = start_http_server(options.metrics_port, registry=series)
    try:
        run_controller(Controller(rollouts, lease, ControllerMetrics(series, options.namespace)), options.namespace)
    finally:
        server.shutdown()
        thread.join()


def _own_namespace(otherwise: str) -> str:
    return POD_NAMESPACE.read_text().strip() if POD_NAMESPACE.exists() else otherwise


def _identity() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"
