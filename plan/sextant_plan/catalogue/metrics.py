"""The metrics that a criterion may name."""

from __future__ import annotations

from sextant_plan.catalogue.criteria import Enforcement, Kind, Metric
from sextant_plan.catalogue.platform import GPU_CELSIUS, GPU_MEMORY_FREE, GPU_MEMORY_USED, POD_LIMITS, POD_MEMORY
from sextant_plan.catalogue.server import (
    BATCH_ROWS,
    DEVICE_SECONDS,
    FALLBACKS,
    FEATURE_BINS,
    FEATURE_TIME,
    FEEDBACK,
    FLAWED_ROWS,
    MODEL_CREATED,
    PREDICTIONS,
    QUEUE_SECONDS,
    RATINGS,
    REFERENCE_RATIO,
    REQUEST_SECONDS,
    REQUESTS,
)
from sextant_plan.catalogue.watching import LABEL_JOIN, PREDICTION_BIAS, PROBE_SUCCESS, QUALITY_ERROR, STALENESS_LOSS

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
