"""The plan's rules as the Prometheus operator's object."""

from __future__ import annotations

import yaml

from sextant_monitoring.rules_file import rule_groups
from sextant_plan.loading import plan_hash
from sextant_plan.schema import Plan

NAMESPACE = "sextant-system"  # where manifests/components/monitoring runs Prometheus


def render_prometheus_rule(plan: Plan) -> str:
    """Return the PrometheusRule of a plan (YAML); equal plans give equal text. Raises UsageError as `rule_groups`."""
    document = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": plan.name,
            "namespace": NAMESPACE,
            "annotations": {"sextant.dev/plan-hash": plan_hash(plan)},
        },
        "spec": rule_groups(plan),
    }
    header = f"# Generated from the plan {plan.name}; change the plan, not this file.\n"
    return header + yaml.safe_dump(document, sort_keys=False, width=110, allow_unicode=True)
