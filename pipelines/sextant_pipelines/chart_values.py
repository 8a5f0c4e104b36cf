"""What the chart needs of a plan that is not the parcel example's: its text, its rules and its boards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from sextant_monitoring.boards import render_boards
from sextant_monitoring.prometheus_rule import render_prometheus_rule
from sextant_plan.catalogue import PREVIOUS_VERSION
from sextant_plan.loading import load_plan
from sextant_plan.schema import Plan


def pod_warnings(plan: Plan) -> list[str]:
    """Return one sentence for each part of the plan that a cluster does without."""
    notify, found = plan.monitoring.notify, []
    if PREVIOUS_VERSION in plan.serving.fallback.engine_failure:
        found.append(
            "serving.fallback.engine_failure: a pod has one bundle, so that previous-version never answers there. "
            "Name baseline after it"
        )
    if notify.mail or notify.chat or notify.trigger:
        found.append(
            "monitoring.notify: on a cluster the AlertmanagerConfig sextant says who hears of an alert. "
            "Put mail, chat and trigger there"
        )
    if "://" not in notify.runbooks:
        found.append(
            f"monitoring.notify.runbooks: alerts link to {notify.runbooks}, which opens nowhere but in a checkout. "
            "Give the URL at which the pages can be read"
        )
    return found


class _Readable(yaml.SafeDumper):
    """Writes texts of several lines as blocks."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Readable.add_representer(str, _text)


def render_values(path: Path) -> str:
    """Return Helm values (YAML) for the plan in this file; equal plans give equal values.

    Everything else keeps the chart's defaults. Raises PlanError, and UsageError as `rule_groups`.
    """
    plan, text = load_plan(path), path.read_text(encoding="utf-8")
    values: dict[str, Any] = {
        "model": {"name": plan.name, "storageUri": f"s3://models/{plan.name}/first/"},
        "plan": {"text": text, "rules": render_prometheus_rule(plan), "dashboards": render_boards(plan)},
    }
    header = f"# Written by `sextant render values` from the plan {plan.name}; change the plan, not this file.\n"
    return header + yaml.dump(values, Dumper=_Readable, sort_keys=False, width=10_000, allow_unicode=True)
