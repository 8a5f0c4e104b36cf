"""The metric catalogue: the only place where metrics and Prometheus series get their names.

Server, rules, dashboards, gates and controller look names up here. A criterion on a metric that is not
listed, or an enforcement that the metric does not allow, is a plan error.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


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

    @property
    def by_request(self) -> bool:
        """Whether `n` counts requests, of which one row can give many; else it counts rows."""
        return self.kind in {Kind.LATENCY, Kind.RELIABILITY}


@dataclass(frozen=True)
class Series:
    """A Prometheus series that the server exposes; `labels` come after the common model, version, variant."""

    name: str
    type: str
    unit: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = field(default=())


QUANTILES = {"latency_p50_ms": 0.5, "latency_p99_ms": 0.99}
PAIRED_BOUND = "paired score (Tango 1998)"  # of every difference to the baseline or the champion

COMMON_LABELS = ("model", "version", "variant")
LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
BATCH_BUCKETS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)

REQUESTS = Series("sextant_requests_total", "counter", "requests", "Inference requests by status code.", ("code",))
REQUEST_SECONDS = Series(
    "sextant_request_seconds",
    "histogram",
    "seconds",
    "Time from the request's last byte to the response's first; every latency limit of the plan is an edge.",
    buckets=LATENCY_BUCKETS,
)
QUEUE_SECONDS = Series(
    "sextant_queue_wait_seconds", "histogram", "seconds", "Time a request waits for its batch.", buckets=LATENCY_BUCKETS
)
DEVICE_SECONDS = Series(
    "sextant_device_seconds", "histogram", "seconds", "Time one batch takes on the device.", buckets=LATENCY_BUCKETS
)
DECODE_SECONDS = Series(
    "sextant_decode_seconds", "histogram", "seconds", "Time to decode one picture.", buckets=LATENCY_BUCKETS
)
FEATURE_SECONDS = Series(
    "sextant_feature_lookup_seconds",
    "histogram",
    "seconds",
    "Time of one batched online feature lookup.",
    buckets=LATENCY_BUCKETS,
)
BATCH_ROWS = Series("sextant_batch_rows", "histogram", "rows", "Rows in one batch.", buckets=BATCH_BUCKETS)
FALLBACKS = Series("sextant_fallbacks_total", "counter", "rows", "Rows answered by a fallback, by reason.", ("reason",))
PREDICTIONS = Series("sextant_predictions_total", "counter", "rows", "Rows by predicted class.", ("class",))
FEATURE_BINS = Series(
    "sextant_feature_bin_total", "counter", "rows", "Rows by input feature and training bin.", ("feature", "bin")
)
REFERENCE_RATIO = Series(
    "sextant_reference_ratio", "gauge", "ratio", "Share of the training rows in each bin.", ("feature", "bin")
)
FEEDBACK = Series("sextant_feedback_total", "counter", "labels", "Labels received, by agreement.", ("outcome",))
READY = Series("sextant_ready", "gauge", "boolean", "1 once warm-up and golden requests have passed.")
MODEL_CREATED = Series(
    "sextant_model_created_timestamp_seconds", "gauge", "seconds", "Unix time the bundle was sealed."
)

# The values of the label `reason` of FALLBACKS: why a row was not answered by the model alone.
LOW_CONFIDENCE, FEATURE_MISS, FEATURE_OUTAGE = "low-confidence", "feature-miss", "feature-outage"
FALLBACK_REASONS = (LOW_CONFIDENCE, FEATURE_MISS, FEATURE_OUTAGE)

SERIES: dict[str, Series] = {
    series.name: series
    for series in (
        REQUESTS,
        REQUEST_SECONDS,
        QUEUE_SECONDS,
        DEVICE_SECONDS,
        DECODE_SECONDS,
        FEATURE_SECONDS,
        BATCH_ROWS,
        FALLBACKS,
        PREDICTIONS,
        FEATURE_BINS,
        REFERENCE_RATIO,
        FEEDBACK,
        READY,
        MODEL_CREATED,
    )
}

_GATE = frozenset({Enforcement.GATE})
_LABELLED = frozenset({Enforcement.GATE, Enforcement.CANARY, Enforcement.RETRAIN})
_LIVE = frozenset({Enforcement.GATE, Enforcement.CANARY, Enforcement.ALERT})
_WATCHED = frozenset({Enforcement.ALERT, Enforcement.RETRAIN})

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "accuracy", Kind.ML, "share", True, "evaluate", "proportion", "clopper-pearson", _LABELLED,
            "Share of rows whose most probable class is the label.", (FEEDBACK.name,), sliceable=True, relative=True,
        ),
        Metric(
            "recall_min", Kind.ML, "share", True, "evaluate", "proportion", "clopper-pearson, Holm over classes", _GATE,
            "The lowest recall of any class.",
        ),
        Metric(
            "macro_f1", Kind.ML, "score", True, "evaluate", "statistic", "MOVER over clopper-pearson", _GATE,
            "Unweighted mean of the classes' F1.", sliceable=True,
        ),
        Metric(
            "calibration_error", Kind.ML, "share", False, "evaluate", "statistic", "bootstrap", _GATE,
            "Expected calibration error over 10 bins of equal count (Naeini et al. 2015).",
        ),
        Metric(
            "coverage", Kind.BUSINESS, "share", True, "evaluate", "proportion", "clopper-pearson", _LIVE,
            "Share of rows that the model answers itself, without abstaining.", (FALLBACKS.name, PREDICTIONS.name),
        ),
        Metric(
            "net_value", Kind.ECONOMIC, "currency/day", True, "evaluate", "mean", "MOVER over clopper-pearson", _GATE,
            "Value of right answers minus cost of wrong ones and of serving, for a day, from goal.economics.",
        ),
        Metric(
            "accuracy_gap", Kind.FAIRNESS, "share", False, "evaluate", "statistic",
            "MOVER over clopper-pearson, Holm over pairs", _GATE,
            "Largest difference of accuracy between two values of the criterion's slice column.", sliceable=True,
        ),
        Metric(
            "corrupted_accuracy", Kind.ROBUSTNESS, "share", True, "evaluate", "proportion",
            "clopper-pearson, Holm over corruptions", _GATE,
            "Accuracy under the plan's corruptions, the worst corruption counting.",
        ),
        Metric(
            "latency_p99_ms", Kind.LATENCY, "ms", False, "evaluate", "quantile", "order statistics", _LIVE,
            "99th percentile of the request time on the real runtime.", (REQUEST_SECONDS.name,),
        ),
        Metric(
            "latency_p50_ms", Kind.LATENCY, "ms", False, "evaluate", "quantile", "order statistics", _LIVE,
            "Median request time on the real runtime.", (REQUEST_SECONDS.name,),
        ),
        Metric(
            "error_rate", Kind.RELIABILITY, "share", False, "evaluate", "proportion", "clopper-pearson", _LIVE,
            "Share of requests answered with a 5xx code.", (REQUESTS.name,),
        ),
        Metric(
            "label_agreement", Kind.DATA, "kappa", True, "ingest", "statistic", "bootstrap", _GATE,
            "Agreement of the raters: Krippendorff's alpha, nominal.",
        ),
        Metric(
            "missing_rate", Kind.DATA, "share", False, "verify", "proportion", "clopper-pearson", _GATE,
            "Share of rows in which a column that the model reads is missing.",
        ),
        Metric(
            "duplicate_rate", Kind.DATA, "share", False, "verify", "proportion", "clopper-pearson", _GATE,
            "Share of rows whose inputs equal another row's byte for byte.",
        ),
        Metric(
            "input_psi", Kind.DRIFT, "nats", False, "watch", "statistic", "bias-corrected", _WATCHED,
            "Largest population stability index of any input feature against the training reference.",
            (FEATURE_BINS.name, REFERENCE_RATIO.name),
        ),
    )
}  # fmt: skip
