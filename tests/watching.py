"""What the tests of a watched server share: its plan, `sextant watch` beside it, and what is heard of its alerts."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from tests.alerting import Hooks

from sextant_plan.loading import load_plan
from sextant_plan.schema import Plan


def write_plan(
    folder: Path,
    criteria: list[dict[str, Any]],
    *,
    name: str = "parcels",
    parts: dict[str, Any] | None = None,
    **monitoring: Any,
) -> tuple[Path, Plan]:
    """Write a plan of the plain bundle, some of its parts replaced; return its path and content."""
    fields = {
        "name": name,
        "owner": {"team": "warehouse", "approvers": ["operations"]},
        "goal": {"business": "Sort parcels.", "why_ml": "Nobody can write the rules down."},
        "criteria": criteria,
        "data": {
            "source": "data",
            "table": "table.csv",
            "images": "images",
            "columns": {"weight": {"type": "number"}, "zone": {"type": "category"}},
            "licence": {"name": "CC0-1.0", "source": "made up", "allows_training": True},
            "consent": {"basis": "no persons"},
        },
        "model": {
            "task": "image-tabular-classification",
            "inputs": {"image": {"height": 8, "width": 8, "channels": 1}, "columns": ["weight", "zone"]},
            "candidates": [{"architecture": "linear"}],
        },
        "serving": {"latency_slo_ms": 0.001},
        "monitoring": {"retrain": {"n_of_last": [2, 3], "cooldown": "1h"}, **monitoring},
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(fields | (parts or {})), encoding="utf-8")
    return path, load_plan(path)


@contextmanager
def watching(plan: Path, url: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Run `sextant watch` until the block ends, then interrupt it as a person would."""
    command = [sys.executable, "-m", "sextant_pipelines.cli", "watch", str(plan), "--url", url, "--interval", "0.5"]
    process = subprocess.Popen(
        [*command, "--home", str(plan.parent / "home"), *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def configure(folder: Path, alerts: int, hook: str, targets: list[str], *, every: str = "1s") -> None:
    """Write the configurations: a scrape of each target `every` so often, and every alert to one receiver at once."""
    config = {
        "global": {"scrape_interval": every},
        "rule_files": ["*.rules.yaml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alerts}"]}]}]},
        "scrape_configs": [{"job_name": "sextant", "honor_labels": True, "static_configs": [{"targets": targets}]}],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    route = {"receiver": "all", "group_by": ["..."], "group_wait": "0s", "group_interval": "1s"}
    receivers = [{"name": "all", "webhook_configs": [{"url": f"{hook}/all"}]}]
    (folder / "alertmanager.yaml").write_text(yaml.safe_dump({"route": route, "receivers": receivers}))


def heard_alerts(hooks: Hooks) -> list[dict[str, Any]]:
    """Return the alerts that have begun to fire, as they were posted."""
    return [alert for _, _, post in hooks.posts for alert in post["alerts"] if alert["status"] == "firing"]


def heard_names(hooks: Hooks) -> set[str]:
    """Return their names."""
    return {alert["labels"]["alertname"] for alert in heard_alerts(hooks)}
