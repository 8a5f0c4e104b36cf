"""The files by which Grafana finds its data and its boards at start, without a click."""

from __future__ import annotations

import yaml

BOARDS_FOLDER = "/var/lib/grafana/dashboards/sextant"  # where the boards' files are mounted


def render_provisioning() -> dict[str, str]:
    """Return the files by path, as Grafana's provisioning folder holds them; it reads PROMETHEUS_URL at start."""
    source = {
        "name": "Prometheus",
        "type": "prometheus",
        "access": "proxy",
        "url": "$PROMETHEUS_URL",
        "isDefault": True,
        "editable": False,
        "jsonData": {"timeInterval": "15s"},  # the scrape interval, from which $__rate_interval is made
    }
    provider = {
        "name": "sextant",
        "folder": "Sextant",
        "type": "file",
        "allowUiUpdates": False,
        "options": {"path": BOARDS_FOLDER},
    }
    return {
        "provisioning/datasources/sextant.yaml": yaml.safe_dump(
            {"apiVersion": 1, "datasources": [source]}, sort_keys=False
        ),
        "provisioning/dashboards/sextant.yaml": yaml.safe_dump(
            {"apiVersion": 1, "providers": [provider]}, sort_keys=False
        ),
    }
