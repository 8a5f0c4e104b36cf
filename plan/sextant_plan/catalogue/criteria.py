"""What a criterion can be about, where it can be held, and what there is to know of a metric that it names."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

QUANTILES = {"latency_p50_ms": 0.5, "latency_p99_ms": 0.99, "queue_wait_p99_ms": 0.99}
PAIRED_BOUND = "paired score (Tango 1998)"  # of a difference of shares to the baseline or the champion
PAIRED_MEAN_BOUND = "Student's t on the rows' differences"  # of a difference of mean errors to either

Answers = Literal["class", "number"]
"""What a model answers with: one of the label's classes, or a number in the label's own unit."""


class Kind(StrEnum):
    """What a criterion on the metric is about (CRISP-ML(Q), Studer et al. 2021, section 3.1)."""

    BUSINESS = "business"
    ML = "ml"
    ECONOMIC = "economic"
    FAIRNESS = "fairness"
    ROBUSTNESS = "robustness"
    LATENCY = "latency"
    RELIABILITY = "reliability"
    DATA = "data"
    DRIFT = "drift"


class Enforcement(StrEnum):
    """Where a criterion is held: before promotion, while rolling out, in production, and as a reason to retrain."""

    GATE = "gate"
    CANARY = "canary"
    ALERT = "alert"
    RETRAIN = "retrain"


@dataclass(frozen=True)
class Metric:
    """One measurable quantity.

    `step` names the life-cycle step that computes it, `estimator` how (`proportion`, `mean`, `quantile`,
    `ratio`, `statistic`), `bound` where its interval comes from. `sliceable` tells whether a criterion may
    restrict it to a slice, `relative` whether it may ask for a difference to the baseline or the champion.
    `answers` names the answers that it measures, None for a metric of every model.
    """

    name: str
    kind: Kind
    unit: str
    higher_is_better: bool
    step: str
    estimator: str
    bound: str
    enforcements: frozenset[Enforcement]
    description: str
    series: tuple[str, ...] = ()
    sliceable: bool = False
    relative: bool = False
    answers: Answers | None = None

    @property
    def by_request(self) -> bool:
        """Whether `n` counts requests, of which one row can give many; else it counts rows."""
        return self.kind in {Kind.LATENCY, Kind.RELIABILITY}

    @property
    def paired_bound(self) -> str:
        """Where the bounds of a difference to the baseline or the champion come from."""
        return PAIRED_MEAN_BOUND if self.answers == "number" else PAIRED_BOUND
