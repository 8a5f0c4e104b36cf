"""The parcel example's plan as it goes to a cluster: there is a canary alone, and somebody to read the prediction log.

A text made of the laptop's, so that its comments stay. Another rollout is another plan, with a hash of its own.
"""

from __future__ import annotations

CLUSTER_PLAN = "cluster-plan.yaml"  # beside the example's plan.yaml, so that `data` means the same folder
HEADER = "# Made of plan.yaml by `make generate`, for a cluster: a canary, and a log that late labels are joined to.\n"
CHANGES = (
    (
        "  - {id: errors, metric: error_rate, at_most: 0.01, min_n: 300, enforce: [gate, alert]}\n",
        "  - {id: errors, metric: error_rate, at_most: 0.01, min_n: 300, enforce: [gate, canary, alert]}\n",
    ),
    (
        '  attachment: "sextant_examples.parcels.label:render"\n',
        '  attachment: "sextant_examples.parcels.label:render"\n  log: {sample: 1, columns: [price]}\n',
    ),
    ("  strategy: immediate  # one server on a laptop\n", "  strategy: canary\n"),
)


def for_a_cluster(text: str) -> str:
    """Return the example's plan with what is another on a cluster; ValueError if it lacks a line that is changed."""
    for laptop, cluster in CHANGES:
        if text.count(laptop) != 1:
            raise ValueError(f"the plan has no line {laptop.strip()!r}. Change it here as it was changed there.")
        text = text.replace(laptop, cluster)
    return HEADER + text
