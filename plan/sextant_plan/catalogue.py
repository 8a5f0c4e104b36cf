"""The metric catalogue: the only place where metrics and Prometheus series get their names.

Server, rules, dashboards, gates and controller look names up here. A criterion on a metric that is not
listed, or an enforcement that the metric does not allow, is a plan error.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

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


@dataclass(frozen=True)
class Series:
    """A Prometheus series that a process of ours exposes; which labels come before `labels` depends on the process."""

    name: str
    type: str
    unit: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = field(default=())


QUANTILES = {"latency_p50_ms": 0.5, "latency_p99_ms": 0.99, "queue_wait_p99_ms": 0.99}
PAIRED_BOUND = "paired score (Tango 1998)"  # of a difference of shares to the baseline or the champion
PAIRED_MEAN_BOUND = "Student's t on the rows' differences"  # of a difference of mean errors to either

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
UNITS = Series(
    "sextant_units_total",
    "counter",
    "units",
    "Units that the hash assigned, by what the first label of their answers said; a process counts each once.",
    ("outcome",),
)
RATINGS = Series("sextant_ratings_total", "counter", "ratings", "Ratings by users, from 1 to 5.", ("rating",))
PASSED_ON = Series(
    "sextant_feedback_passed_on_total",
    "counter",
    "labels",
    "Labels that other pods were asked about: `found` and answered there, `unknown` to all, `silent` where one gave no "
    "answer, `later` where one wants it sent again, `full` where too many were under way.",
    ("outcome",),
)
MIRROR_DROPPED = Series(
    "sextant_mirror_dropped_total", "counter", "requests", "Copies of requests that found the shadow's queue full."
)
LOG_ROWS = Series(
    "sextant_prediction_log_rows_total",
    "counter",
    "rows",
    "Sampled rows of the prediction log: `written` once their file is complete, `dropped` when its writer was behind "
    "or its disk failed.",
    ("outcome",),
)
READY = Series("sextant_ready", "gauge", "boolean", "1 once warm-up and golden requests have passed.")
MODEL_CREATED = Series(
    "sextant_model_created_timestamp_seconds", "gauge", "seconds", "Unix time the bundle was sealed."
)
FLAWED_ROWS = Series(
    "sextant_flawed_rows_total", "counter", "rows", "Rows with a value missing, or unknown to training.", ("flaw",)
)
FEATURE_TIME = Series(
    "sextant_feature_event_timestamp_seconds", "gauge", "seconds", "Newest event time seen of a view.", ("view",)
)
FEATURE_ROWS = Series(
    "sextant_feature_rows_total",
    "counter",
    "rows",
    "Rows looked up of a view: found, `stale` for past its time to live, or absent from the store.",
    ("view", "state"),
)

# The values of the label `state` of FEATURE_ROWS.
FEATURE_STATES = ("found", "stale", "absent")

# The values of the label `outcome` of PASSED_ON.
FOUND, UNKNOWN, SILENT, LATER, FULL = "found", "unknown", "silent", "later", "full"
PASSED_ON_LABELS = (FOUND, UNKNOWN, SILENT, LATER, FULL)

# The values of the label `outcome` of UNITS.
UNIT_OUTCOMES = ("agree", "disagree", "abstained")

# The values of the label `reason` of FALLBACKS: why a row was not answered by the model alone.
LOW_CONFIDENCE, OUT_OF_DISTRIBUTION = "low-confidence", "out-of-distribution"
FEATURE_MISS, FEATURE_OUTAGE, FEATURE_FAILURE = "feature-miss", "feature-outage", "feature-failure"
PREVIOUS_VERSION, BASELINE = "previous-version", "baseline"  # who answered where the network failed
FALLBACK_REASONS = (
    LOW_CONFIDENCE,
    OUT_OF_DISTRIBUTION,
    FEATURE_MISS,
    FEATURE_OUTAGE,
    FEATURE_FAILURE,
    PREVIOUS_VERSION,
    BASELINE,
)

# The values of the label `flaw` of FLAWED_ROWS.
MISSING, UNKNOWN_CATEGORY = "missing", "unknown-category"
FLAWS = (MISSING, UNKNOWN_CATEGORY)

PREDICTED_CLASS = "prediction"  # the `feature` under which FEATURE_BINS and REFERENCE_RATIO hold the predicted class

# Series of `sextant watch --export`, labelled by model like the server's; a quality's verdict belongs to a criterion.
PROBE_SUCCESS = Series("sextant_probe_success", "gauge", "ratio", "Share of golden requests answered as sealed.")
PROBE_SECONDS = Series("sextant_probe_seconds", "gauge", "seconds", "Longest answer to a golden request.")
QUALITY = Series(
    "sextant_quality_ratio", "gauge", "ratio", "Quality by delayed labels, with its bounds.", ("criterion", "bound")
)
QUALITY_ERROR = Series(
    "sextant_quality_error",
    "gauge",
    "label unit",
    "Error of numbers by delayed labels, in the label's own unit, with its bounds.",
    ("criterion", "bound"),
)
QUALITY_ROWS = Series("sextant_quality_rows", "gauge", "rows", "Labelled rows behind a quality.", ("criterion",))
LABEL_JOIN = Series("sextant_label_join_ratio", "gauge", "ratio", "Share of due predictions that have a label.")
PREDICTION_BIAS = Series(
    "sextant_prediction_bias_ratio", "gauge", "ratio", "Predicted share of a class less its labelled share.", ("class",)
)
PREDICTION_BIAS_ERROR = Series(
    "sextant_prediction_bias_standard_error_ratio",
    "gauge",
    "ratio",
    "Standard error of a class's bias, never 0: it counts four pseudo-rows.",
    ("class",),
)
LABELLED_ROWS = Series("sextant_labelled_rows", "gauge", "rows", "Labelled rows of the last window that is due.")
STALENESS_LOSS = Series(
    "sextant_staleness_loss_per_day_ratio",
    "gauge",
    "ratio",
    "Accuracy that a day of age costs by the run's staleness curve, with its one-sided bounds.",
    ("bound",),
)
EXPECTED_ACCURACY = Series(
    "sextant_expected_accuracy_ratio",
    "gauge",
    "ratio",
    "Mean probability of the answered class: the accuracy that a calibrated model expects until labels come.",
)
EXPORTED: dict[str, Series] = {
    series.name: series
    for series in (
        PROBE_SUCCESS,
        PROBE_SECONDS,
        QUALITY,
        QUALITY_ERROR,
        QUALITY_ROWS,
        LABEL_JOIN,
        LABELLED_ROWS,
        PREDICTION_BIAS,
        PREDICTION_BIAS_ERROR,
        EXPECTED_ACCURACY,
        STALENESS_LOSS,
    )
}

# Series of the rollout controller; `model` is the InferenceService.
ROLLOUT_WEIGHT = Series(
    "sextant_rollout_weight_percent", "gauge", "percent", "Share of requests asked for the canary.",
    ("namespace", "model"),
)  # fmt: skip
ROLLOUT_PHASE = Series(
    "sextant_rollout_phase", "gauge", "boolean", "1 for the phase that the rollout is in.",
    ("namespace", "model", "phase"),
)  # fmt: skip
ROLLOUT_ENDS = Series(
    "sextant_rollout_ends_total", "counter", "rollouts", "Rollouts by how they ended.", ("namespace", "model", "end")
)
ROLLOUT_FAULTS = Series(
    "sextant_rollout_faults_total", "counter", "ticks", "Steps that an API, MLflow or a bad object prevented.",
    ("namespace", "model"),
)  # fmt: skip
ROLLOUT_LEADER = Series("sextant_rollout_leader", "gauge", "boolean", "1 while this controller holds the lease.")
CONTROLLER: dict[str, Series] = {
    series.name: series for series in (ROLLOUT_WEIGHT, ROLLOUT_PHASE, ROLLOUT_ENDS, ROLLOUT_FAULTS, ROLLOUT_LEADER)
}

TRIGGER_DECISIONS = Series(
    "sextant_trigger_decisions_total", "counter", "alerts", "Alerts by what they led to.", ("action",)
)
TRIGGER_ERRORS = Series(
    "sextant_trigger_errors_total", "counter", "notifications", "Notifications that could not be acted on."
)
TRIGGER: dict[str, Series] = {series.name: series for series in (TRIGGER_DECISIONS, TRIGGER_ERRORS)}

# Series under the names of KServe's own Python server, for boards and scaling rules that were written for it. They have
# its one label, and its edges alone, since a sum over servers of both kinds takes equal ones. The three stages of a
# request make up its REQUEST_SECONDS; the fourth of KServe's, explain, is none of this server's.
KSERVE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
PREPROCESS_SECONDS = Series(
    "request_preprocess_seconds", "histogram", "seconds",
    "Time from a request's last byte until its inputs are read and decoded.", ("model_name",), KSERVE_BUCKETS,
)  # fmt: skip
PREDICT_SECONDS = Series(
    "request_predict_seconds", "histogram", "seconds",
    "Time in the queue, in the feature store and on the device, of requests that found no answer in time too.",
    ("model_name",), KSERVE_BUCKETS,
)  # fmt: skip
POSTPROCESS_SECONDS = Series(
    "request_postprocess_seconds", "histogram", "seconds",
    "Time to note and write the answer, with the files of the plan's attachment.",
    ("model_name",), KSERVE_BUCKETS,
)  # fmt: skip
KSERVE: dict[str, Series] = {
    series.name: series for series in (PREPROCESS_SECONDS, PREDICT_SECONDS, POSTPROCESS_SECONDS)
}

# Series of NVIDIA's DCGM exporter and of Kubernetes (cAdvisor, kube-state-metrics), as their projects name them.
GPU_MEMORY_USED, GPU_MEMORY_FREE = "DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_FB_FREE"
GPU_CELSIUS, GPU_BUSY, GPU_FAULTS = "DCGM_FI_DEV_GPU_TEMP", "DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_XID_ERRORS"
POD_MEMORY, POD_LIMITS = "container_memory_working_set_bytes", "kube_pod_container_resource_limits"
POD_RESTARTS = "kube_pod_container_status_restarts_total"

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
        UNITS,
        RATINGS,
        PASSED_ON,
        MIRROR_DROPPED,
        LOG_ROWS,
        READY,
        MODEL_CREATED,
        FLAWED_ROWS,
        FEATURE_TIME,
        FEATURE_ROWS,
    )
}

_GATE = frozenset({Enforcement.GATE})
_LABELLED = frozenset(Enforcement)
_LIVE = frozenset({Enforcement.GATE, Enforcement.CANARY, Enforcement.ALERT})
_JOINED = frozenset({Enforcement.GATE, Enforcement.ALERT, Enforcement.RETRAIN})
_WATCHED = frozenset({Enforcement.ALERT, Enforcement.RETRAIN})
_CANARY = frozenset({Enforcement.CANARY})
_ALERT = frozenset({Enforcement.ALERT})

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "accuracy", Kind.ML, "share", True, "evaluate", "proportion", "clopper-pearson", _LABELLED,
            "Share of rows whose most probable class is the label.", (FEEDBACK.name,), sliceable=True, relative=True,
            answers="class",
        ),
        Metric(
            "recall_min", Kind.ML, "share", True, "evaluate", "proportion", "clopper-pearson, Holm over classes", _GATE,
            "The lowest recall of any class.", answers="class",
        ),
        Metric(
            "macro_f1", Kind.ML, "score", True, "evaluate", "statistic", "MOVER over clopper-pearson", _GATE,
            "Unweighted mean of the classes' F1.", sliceable=True, answers="class",
        ),
        Metric(
            "calibration_error", Kind.ML, "share", False, "evaluate", "statistic", "bootstrap", _GATE,
            "Expected calibration error over 10 bins of equal count (Naeini et al. 2015).", answers="class",
        ),
        Metric(
            "coverage", Kind.BUSINESS, "share", True, "evaluate", "proportion", "clopper-pearson", _LIVE,
            "Share of rows that the model answers itself, without abstaining.", (FALLBACKS.name, PREDICTIONS.name),
        ),
        Metric(
            "net_value", Kind.ECONOMIC, "currency/day", True, "evaluate", "mean", "MOVER over clopper-pearson", _GATE,
            "Value of right answers minus cost of wrong ones and of serving, for a day, from goal.economics.",
            answers="class",
        ),
        Metric(
            "accuracy_gap", Kind.FAIRNESS, "share", False, "evaluate", "statistic",
            "MOVER over clopper-pearson, Holm over pairs", _GATE,
            "Largest difference of accuracy between two values of the criterion's slice column.", sliceable=True,
            answers="class",
        ),
        Metric(
            "corrupted_accuracy", Kind.ROBUSTNESS, "share", True, "evaluate", "proportion",
            "clopper-pearson, Holm over corruptions", _GATE,
            "Accuracy under the plan's corruptions at severity 3 of 5, the worst corruption counting.", answers="class",
        ),
        Metric(
            "attacked_accuracy", Kind.ROBUSTNESS, "share", True, "evaluate", "proportion", "clopper-pearson", _GATE,
            "Accuracy under the attack of evaluation.attack by projected gradient descent (Madry et al. 2018).",
            answers="class",
        ),
        Metric(
            "stranger_auroc", Kind.ROBUSTNESS, "share", True, "evaluate", "statistic", "Newcombe (2006), method 5",
            _GATE,
            "Chance that the highest probability is higher for a sealed row than for an input of no class, the kind of "
            "input counting that is told apart worst.", answers="class",
        ),
        Metric(
            "mae", Kind.ML, "label unit", False, "evaluate", "mean", "Student's t on the logarithm", _JOINED,
            "Mean absolute error, in the label's own unit.", (QUALITY_ERROR.name,), sliceable=True, relative=True,
            answers="number",
        ),
        Metric(
            "rmse", Kind.ML, "label unit", False, "evaluate", "mean",
            "Student's t on the logarithm of the mean square", _JOINED,
            "Root of the mean squared error, in the label's own unit.", (QUALITY_ERROR.name,), sliceable=True,
            answers="number",
        ),
        Metric(
            "r_squared", Kind.ML, "r2", True, "evaluate", "statistic", "bootstrap", _GATE,
            "Share of the labels' variance that the model explains: 1 - squared errors over those of the mean.",
            sliceable=True, answers="number",
        ),
        Metric(
            "mae_gap", Kind.FAIRNESS, "label unit", False, "evaluate", "statistic",
            "MOVER over Student's t on the logarithm, Holm over pairs", _GATE,
            "Largest difference of the mean absolute error between two values of the criterion's slice column.",
            sliceable=True, answers="number",
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
            "error_ratio", Kind.RELIABILITY, "ratio", False, "roll_out", "ratio", "ratio e-process", _CANARY,
            "Rate of requests answered with a 5xx code, the canary's over the stable version's.", (REQUESTS.name,),
        ),
        Metric(
            "slow_ratio", Kind.LATENCY, "ratio", False, "roll_out", "ratio", "ratio e-process", _CANARY,
            "Rate of requests over serving.latency_slo_ms, the canary's over the stable version's.",
            (REQUEST_SECONDS.name,),
        ),
        Metric(
            "prediction_shift", Kind.DRIFT, "nats", False, "roll_out", "statistic", "confidence sequence by weight",
            _CANARY, "Population stability index of the predicted classes, the canary's against the stable version's.",
            (PREDICTIONS.name,), answers="class",
        ),
        Metric(
            "label_agreement", Kind.DATA, "kappa", True, "ingest", "statistic", "MOVER-R over clopper-pearson", _GATE,
            "Agreement of the raters: Krippendorff's alpha, nominal.", answers="class",
        ),
        Metric(
            "missing_rate", Kind.DATA, "share", False, "verify", "proportion", "clopper-pearson",
            frozenset({Enforcement.GATE, Enforcement.ALERT}),
            "Share of rows in which a column that the model reads is missing.", (FLAWED_ROWS.name, BATCH_ROWS.name),
        ),
        Metric(
            "duplicate_rate", Kind.DATA, "share", False, "verify", "proportion", "clopper-pearson", _GATE,
            "Share of rows whose inputs equal another row's byte for byte.",
        ),
        Metric(
            "near_duplicate_rate", Kind.DATA, "share", False, "verify", "proportion", "clopper-pearson", _GATE,
            "Share of pictures that nearly equal an earlier row's.",
        ),
        Metric(
            "picture_issue_rate", Kind.DATA, "share", False, "verify", "proportion", "clopper-pearson", _GATE,
            "Share of pictures that are dark, overexposed, blank or blurred.",
        ),
        Metric(
            "label_issue_rate", Kind.DATA, "share", False, "verify", "proportion", "clopper-pearson", _GATE,
            "Share of rows whose label is likely an error, by confident learning (Northcutt et al. 2021).",
            answers="class",
        ),
        Metric(
            "outlier_rate", Kind.DATA, "share", False, "verify", "proportion", "clopper-pearson", _GATE,
            "Share of rows with a number 8 robust deviations or more from its column's median.",
        ),
        Metric(
            "input_psi", Kind.DRIFT, "nats", False, "watch", "statistic", "bias-corrected", _WATCHED,
            "Largest population stability index of any input feature against the training reference.",
            (FEATURE_BINS.name, REFERENCE_RATIO.name),
        ),
        Metric(
            "prediction_psi", Kind.DRIFT, "nats", False, "watch", "statistic", "bias-corrected", _WATCHED,
            "Population stability index of the predicted class against the classes of the training rows.",
            (FEATURE_BINS.name, REFERENCE_RATIO.name),
        ),
        Metric(
            "unknown_rate", Kind.DATA, "share", False, "watch", "proportion", "chernoff", _WATCHED,
            "Share of rows with a category that training never saw.", (FLAWED_ROWS.name, BATCH_ROWS.name),
        ),
        Metric(
            "odd_rate", Kind.DATA, "share", False, "watch", "proportion", "chernoff", _WATCHED,
            "Share of rows on which the model abstains by serving.fallback.abstain_outside.",
            (FALLBACKS.name, BATCH_ROWS.name),
        ),
        Metric(
            "queue_wait_p99_ms", Kind.LATENCY, "ms", False, "watch", "quantile", "chernoff", _ALERT,
            "99th percentile of the wait for a batch; the limit is an edge of the server's histogram.",
            (QUEUE_SECONDS.name,),
        ),
        Metric(
            "client_error_rate", Kind.RELIABILITY, "share", False, "watch", "proportion", "chernoff", _ALERT,
            "Share of requests answered with a 4xx code.", (REQUESTS.name,),
        ),
        Metric(
            "device_busy", Kind.RELIABILITY, "share", False, "watch", "mean", "none", _ALERT,
            "Share of the window in which a server's device was at work.", (DEVICE_SECONDS.name,),
        ),
        Metric(
            "traffic_change", Kind.RELIABILITY, "ratio", False, "watch", "ratio", "none", _ALERT,
            "Requests in the window against the mean of the 24 before it, whichever is more over the other.",
            (REQUESTS.name,),
        ),
        Metric(
            "model_age_days", Kind.DRIFT, "days", False, "watch", "statistic", "none", _WATCHED,
            "Days since the bundle was sealed, to be held under the staleness that the plan allows.",
            (MODEL_CREATED.name,),
        ),
        Metric(
            "staleness_loss", Kind.DRIFT, "share", False, "watch", "statistic", "none", _WATCHED,
            "Accuracy that the model has lost to its age, by the staleness curve that its evaluation measured; a loss "
            "that is not proved is none.", (STALENESS_LOSS.name, MODEL_CREATED.name), answers="class",
        ),
        Metric(
            "prediction_bias", Kind.DRIFT, "share", False, "watch", "statistic",
            "normal with pseudo-rows, Bonferroni over classes", _WATCHED,
            "Largest difference, of any class, of its share of the answers to its share of the labels; until "
            "labels come, to its share of the training rows.",
            (PREDICTION_BIAS.name, FEATURE_BINS.name, REFERENCE_RATIO.name), answers="class",
        ),
        Metric(
            "feature_age_hours", Kind.DATA, "hours", False, "watch", "statistic", "none", _ALERT,
            "Hours since the newest event that the online store has answered with, of the stalest view.",
            (FEATURE_TIME.name,),
        ),
        Metric(
            "probe_success", Kind.RELIABILITY, "share", True, "watch", "statistic", "none", _ALERT,
            "Share of the golden requests that the server in service answers as sealed.", (PROBE_SUCCESS.name,),
        ),
        Metric(
            "satisfaction", Kind.BUSINESS, "share", True, "watch", "proportion", "chernoff", _WATCHED,
            "Share of the users' ratings that are 4 or 5 of 5.", (RATINGS.name,),
        ),
        Metric(
            "label_join_rate", Kind.DATA, "share", True, "watch", "statistic", "none", _ALERT,
            "Share of the predictions older than monitoring.labels.delay that have a label.", (LABEL_JOIN.name,),
        ),
        Metric(
            "pod_memory", Kind.RELIABILITY, "share", False, "watch", "statistic", "none", _ALERT,
            "Memory of a serving container over its limit.", (POD_MEMORY, POD_LIMITS),
        ),
        Metric(
            "gpu_memory", Kind.RELIABILITY, "share", False, "watch", "statistic", "none", _ALERT,
            "Share of a GPU's memory in use.", (GPU_MEMORY_USED, GPU_MEMORY_FREE),
        ),
        Metric(
            "gpu_celsius", Kind.RELIABILITY, "degrees", False, "watch", "statistic", "none", _ALERT,
            "Temperature of a GPU.", (GPU_CELSIUS,),
        ),
    )
}  # fmt: skip
