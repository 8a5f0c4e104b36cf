"""The series of the model server, and the values of their labels."""

from __future__ import annotations

from sextant_plan.catalogue.series import BATCH_BUCKETS, LATENCY_BUCKETS, Series

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
