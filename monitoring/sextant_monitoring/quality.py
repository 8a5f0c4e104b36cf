"""Live quality by delayed labels: the prediction log joined with the feedback log, window by window.

What counts is decided once, here:
- A prediction belongs to the window in which it was answered, whenever its label comes; so a late label changes the
  figure of an old window, and a window is due once it ended `monitoring.labels.delay` ago.
- Of several labels of one prediction the first received counts, as on the server; of several log rows of one
  prediction and variant (a retried write) the first.
- A row on which the model abstained is no error of the model and is left out. A label without a logged prediction, as
  under sampling, is left out too, and so is a label that is no number where the model answers with numbers.
- What is no record in a feedback log is passed over and counted (`sextant_plan.feedback_log`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sextant_monitoring.launcher import TimeWindow
from sextant_plan.bounds import proportion, root_mean_square, size_mean
from sextant_plan.catalogue import COMMON_LABELS
from sextant_plan.feedback_log import first_labels
from sextant_plan.prediction_log import INPUT_PREFIX
from sextant_plan.schema import Criterion, Plan
from sextant_plan.verdicts import Estimate
from sextant_plan.window import Target

if TYPE_CHECKING:
    import polars as pl

PSEUDO_ROWS = 4  # as in Agresti and Coull (1998): of rows that all agree nobody knows that the next one will

LOGGED = ("time", "prediction_id", *COMMON_LABELS, "label", "probability")


@dataclass(frozen=True)
class LabelLogs:
    """Where servers write: the folder of the Parquet prediction log, and the feedback log's JSON lines.

    `feedback` is one server's file, or a folder of `*.jsonl`.
    """

    predictions: Path
    feedback: Path

    @property
    def feedback_files(self) -> list[Path]:
        """The feedback logs, in order."""
        return sorted(self.feedback.glob("*.jsonl")) if self.feedback.is_dir() else [self.feedback]


@dataclass(frozen=True)
class WindowQuality:
    """What is known of one target's answers in one window.

    `due` counts answered rows, `labelled` those with a label. `expected` is the mean probability of the answered class,
    not a number where answers come without one.
    `bias` is, by class and over labelled rows, the predicted share less the labelled one; `bias_errors` has the
    standard errors. `broken_lines` counts what was passed over in the feedback logs, whichever window it was about.
    """

    window: TimeWindow
    target: Target
    due: int
    labelled: int
    expected: float
    qualities: dict[str, Estimate] = field(default_factory=dict)
    bias: dict[str, float] = field(default_factory=dict)
    bias_errors: dict[str, float] = field(default_factory=dict)
    broken_lines: int = 0

    @property
    def join_rate(self) -> float:
        """The share of the answered rows that have a label."""
        return self.labelled / self.due


def quality_criteria(plan: Plan) -> list[Criterion]:
    """Return the criteria that labels decide: accuracy or the size of errors, over all rows or a slice."""
    return [each for each in plan.criteria if each.metric in ESTIMATES and each.relative_to is None]


def last_due_window(plan: Plan, now: float) -> TimeWindow:
    """Return the last window whose labels are due; windows end at whole multiples of their length since the epoch."""
    length = plan.monitoring.window
    end = (now - plan.monitoring.labels.delay) // length * length
    return TimeWindow(end - length, end)


def windows_before(last: TimeWindow, count: int) -> list[TimeWindow]:
    """Return so many windows that follow each other and end with `last`, in order."""
    length = last.end - last.start
    return [TimeWindow(last.start - back * length, last.end - back * length) for back in reversed(range(count))]


def measure_quality(plan: Plan, logs: LabelLogs, window: TimeWindow) -> list[WindowQuality]:
    """Return the quality of each target that answered in the window, in order; both logs are streamed.

    A criterion on a slice whose column the log does not hold has no figure.
    """
    criteria = quality_criteria(plan)
    answered = _answered(logs, window, [_column(each) for each in criteria if each.slice], plan.name)
    if answered is None or answered.is_empty():
        return []
    rows, broken = with_truth(answered, logs)
    found = (
        quality_of(plan, window, tuple(str(value) for value in key), part)
        for key, part in sorted(rows.partition_by(*COMMON_LABELS, as_dict=True).items())
    )
    return [replace(each, broken_lines=broken) for each in found]


def quality_of(plan: Plan, window: TimeWindow, target: Target, answered: pl.DataFrame) -> WindowQuality:
    """Return the quality of one target's answered rows, `label` being the answer and `truth` its label or null."""
    import polars as pl

    by_class = plan.model.answers == "class"
    if not by_class:
        answered = answered.with_columns(_number("label"), _number("truth"))
    labelled = answered.filter(pl.col("truth").is_not_null())
    estimates = ((each.id, _estimate(labelled, each)) for each in quality_criteria(plan))
    qualities = {name: estimate for name, estimate in estimates if estimate is not None}
    expected = answered["probability"].fill_nan(None).mean()
    bias, errors = _bias(labelled) if by_class else ({}, {})
    return WindowQuality(
        window=window,
        target=target,
        due=answered.height,
        labelled=labelled.height,
        expected=float(expected) if isinstance(expected, float) else math.nan,
        qualities=qualities,
        bias=bias,
        bias_errors=errors,
    )


def _number(column: str) -> pl.Expr:
    """Return a column of text as finite numbers, null where it is none."""
    import polars as pl

    number = pl.col(column).cast(pl.String).cast(pl.Float64, strict=False)
    return pl.when(number.is_finite()).then(number).alias(column)


def _column(criterion: Criterion) -> str:
    """Return the log's column of a criterion's slice; a slice by the label is one by the truth."""
    assert criterion.slice is not None
    name = criterion.slice.partition("=")[0]
    return "truth" if name == "label" else INPUT_PREFIX + name


def _estimate(labelled: pl.DataFrame, criterion: Criterion) -> Estimate | None:
    import polars as pl

    rows = labelled
    if criterion.slice is not None:
        column, value = _column(criterion), criterion.slice.partition("=")[2]
        if column not in rows.columns:
            return None
        rows = rows.filter(pl.col(column).cast(pl.String) == value)
    return None if rows.is_empty() else ESTIMATES[criterion.metric](rows, criterion.confidence)


def _accuracy(rows: pl.DataFrame, confidence: float) -> Estimate:
    return proportion(int((rows["label"] == rows["truth"]).sum()), rows.height, confidence)


def _mean_error(rows: pl.DataFrame, confidence: float) -> Estimate:
    return size_mean((rows["label"] - rows["truth"]).abs().to_numpy(), confidence)


def _root_error(rows: pl.DataFrame, confidence: float) -> Estimate:
    return root_mean_square((rows["label"] - rows["truth"]).to_numpy(), confidence)


ESTIMATES: dict[str, Callable[[pl.DataFrame, float], Estimate]] = {
    "accuracy": _accuracy,
    "mae": _mean_error,
    "rmse": _root_error,
}
"""How each metric that joined labels decide is read from rows with `label` and `truth`, bounded as in its gate."""


def _bias(labelled: pl.DataFrame) -> tuple[dict[str, float], dict[str, float]]:
    """Return the mean over rows of predicted less true, by class, and its standard error: the two are paired by row.

    The error counts pseudo-rows too, half of them one disagreement, half the other, so that it is never 0. As many as
    Agresti and Min (2005) or Bonett and Price (2012) add are too few for a bound on one side (docs/adr/0031).
    """
    predicted, true = labelled["label"], labelled["truth"]
    bias, errors, weighted = {}, {}, labelled.height + PSEUDO_ROWS
    for name in sorted(set(predicted) | set(true)):
        more, less = ((predicted == name) & (true != name)).sum(), ((predicted != name) & (true == name)).sum()
        bias[name] = float(more - less) / labelled.height
        variance = float(more + less + PSEUDO_ROWS) / weighted - (float(more - less) / weighted) ** 2
        errors[name] = math.sqrt(variance / weighted)
    return bias, errors


def _answered(logs: LabelLogs, window: TimeWindow, slices: Sequence[str], model: str) -> pl.DataFrame | None:
    """Return the window's answered rows; None without a log."""
    import polars as pl

    if not any(logs.predictions.glob("*.parquet")):
        return None
    logged = pl.scan_parquet(logs.predictions / "*.parquet", missing_columns="insert", extra_columns="ignore")
    present = [name for name in dict.fromkeys(slices) if name in logged.collect_schema().names()]
    start, end = (pl.from_epoch(pl.lit(moment * 1e6).cast(pl.Int64), "us") for moment in (window.start, window.end))
    moment = pl.col("time").dt.replace_time_zone(None)
    return (
        logged.select(*LOGGED, *present)
        .filter(moment >= start, moment < end, pl.col("label").is_not_null(), pl.col("model") == model)
        .sort("time")
        .unique(["prediction_id", *COMMON_LABELS], keep="first")
        .collect(engine="streaming")
    )


def with_truth(rows: pl.DataFrame, logs: LabelLogs) -> tuple[pl.DataFrame, int]:
    """Return rows with their first label as `truth`, null without one, and how many broken lines were passed over."""
    import polars as pl

    first = first_labels(logs.feedback_files, frozenset(rows["prediction_id"]))
    truth = [first.labels.get(identifier) for identifier in rows["prediction_id"]]
    return rows.with_columns(pl.Series("truth", truth, dtype=pl.String)), first.broken
