"""The series of `sextant watch --export`, labelled by model like the server's; a quality's also by its criterion."""

from __future__ import annotations

from sextant_plan.catalogue.series import Series

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
