"""Series under the names of KServe's own Python server, for boards and scaling rules that were written for it.

They have its one label, and its edges alone, since a sum over servers of both kinds takes equal ones. The three stages
of a request make up the server's REQUEST_SECONDS; the fourth of KServe's, explain, is none of this server's.
"""

from __future__ import annotations

from sextant_plan.catalogue.series import Series

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
