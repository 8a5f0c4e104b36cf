"""A Prometheus series of ours, and the labels and edges that several share."""

from __future__ import annotations

from dataclasses import dataclass, field

COMMON_LABELS = ("model", "version", "variant")
LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
BATCH_BUCKETS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)


@dataclass(frozen=True)
class Series:
    """A Prometheus series that a process of ours exposes; which labels come before `labels` depends on the process."""

    name: str
    type: str
    unit: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = field(default=())
