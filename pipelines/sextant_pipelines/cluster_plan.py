"""The parcel example's plan as it goes to a cluster, where servers get a later version by a canary alone.

A text made of the laptop's, so that its comments stay. Another rollout is another plan, with a hash of its own.
"""

from __future__ import annotations

CLUSTER_PLAN = "cluster-plan.yaml"  # beside the example's plan.yaml, so that `data` means the same folder
HEADER = "# Made of plan.yaml by `make generate`, for a cluster: a version takes over there by a canary.\n"
CHANGES = (
    (
        "  - {id: errors, metric: error_rate, at_most: 0.01, min_n: 300, enforce: [gate, alert]}\n",
        "  - {id: errors, metric: error_rate, at_most: 0.01, min_n: 300, enforce: [gate, canary, alert]}\n",
    ),
    ("  strategy: immediate  # one server on a laptop\n", "  strategy: canary\n"),
)


def for_a_cluster(text: str) -> str:
    """Return the example's plan with a canary in the place of an immediate rollout; ValueError if it has none."""
    for laptop, cluster in CHANGES:
        if text.count(laptop) != 1:
            raise ValueError(f"the plan has no line {laptop.strip()!r}. Change it here as it was changed there.")
        text = text.replace(laptop, cluster)
    return HEADER + text
