"""The reference of the cluster profile, from its own models."""

from __future__ import annotations

from sextant_pipelines.cluster_profile import ClusterProfile
from sextant_plan.pages import tables_of


def profile_page() -> str:
    """Return the page in Markdown: one table for each part, in the order of the file."""
    lines = [
        "# Cluster profile",
        "",
        "Generated from `pipelines/sextant_pipelines/cluster_profile.py` by `make generate`. The file that",
        "`sextant submit --profile` and `sextant trigger --profile` read; unknown keys are errors.",
        "[Pipelines](../how-to/pipelines.md#on-kubeflow-pipelines) has an example.",
    ]
    return "\n".join([*lines, *tables_of(ClusterProfile)]) + "\n"
