"""What servers logged in a window, counted as they count it themselves, so that the rules on live series read it too.

They lie in one folder: the prediction log as `predictions/*.parquet`, the feedback log as `feedback.jsonl`, or as
`feedback/*.jsonl` where several servers wrote one each. Unlike the servers' own counters they say what happened in any
past window, and labels join their predictions however late they come.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sextant_monitoring.launcher import TimeWindow
from sextant_plan.bundle import REFERENCE_FILE, BundleSpec, read_bundle
from sextant_plan.catalogue import (
    COMMON_LABELS,
    FALLBACKS,
    FEATURE_BINS,
    FEEDBACK,
    PREDICTIONS,
    READY,
    REFERENCE_RATIO,
    Series,
)
from sextant_plan.errors import InfrastructureError
from sextant_plan.feedback import FEEDBACK_LOG, FEEDBACK_LOGS
from sextant_plan.feedback_log import first_labels
from sextant_plan.prediction_log import INPUT_PREFIX, PREDICTION_LOG
from sextant_plan.promotion import ActiveModel
from sextant_plan.reference import bin_index, read_reference
from sextant_plan.window import Sample, Target, Window

if TYPE_CHECKING:
    import polars as pl

    from sextant_serving.answers import AnswerForm


@dataclass(frozen=True)
class LoggedWindow:
    """The rows of one target in one window; `labels` are the first labels of predictions, by their id.

    `broken_lines` counts what was passed over in the feedback logs, whichever window it was about.
    """

    target: Target
    window: TimeWindow
    rows: pl.DataFrame
    labels: Mapping[str, str]
    broken_lines: int
    spec: BundleSpec
    bundle: Path

    @cached_property
    def form(self) -> AnswerForm:
        """How the model's answers are told."""
        from sextant_serving.answers import form_of

        return form_of(self.spec)

    @cached_property
    def outcomes(self) -> Counter[str]:
        """How many of the rows' labels meet their prediction in which way; rows without a label are left out."""
        found: Counter[str] = Counter()
        for identifier, predicted in self.rows.select("prediction_id", "label").iter_rows():
            label = self.labels.get(identifier)
            if label is not None:
                found["abstained" if predicted is None else self.form.met(predicted, label)] += 1
        return found

    @property
    def join(self) -> float:
        """The share of the rows that have a label; 0 without rows."""
        return self.outcomes.total() / max(self.rows.height, 1)

    @property
    def answered(self) -> pl.DataFrame:
        """The rows that the model answered, with their first label as `truth`, null without one."""
        import polars as pl

        truth = [self.labels.get(identifier) for identifier in self.rows["prediction_id"]]
        rows = self.rows.with_columns(pl.Series("truth", truth, dtype=pl.String))
        if "probability" not in rows.columns:
            rows = rows.with_columns(pl.lit(None, pl.Float64).alias("probability"))
        return rows.filter(pl.col("label").is_not_null())

    def counted(self, *, with_labels: bool) -> Window:
        """Return the window as the server's series; those of feedback only `with_labels`."""
        samples = [self._sample(READY, 1.0), *self._answers(), *self._bins()]
        if with_labels:
            samples += [self._sample(FEEDBACK, count, outcome) for outcome, count in self.outcomes.items()]
        return Window(tuple(samples))

    def _answers(self) -> Iterator[Sample]:
        answered = self.rows["label"].drop_nulls()
        if not self.spec.classes:
            yield self._sample(PREDICTIONS, len(answered), *self.form.counted)
        for label, count in answered.value_counts().iter_rows() if self.spec.classes else ():
            yield self._sample(PREDICTIONS, count, label)
        for reason, count in self.rows.drop_nulls("fallback")["fallback"].value_counts().iter_rows():
            yield self._sample(FALLBACKS, count, reason)

    def _bins(self) -> Iterator[Sample]:
        """Yield rows and training shares by bin for each input that the log holds as it was read, and the class."""
        reference = read_reference(self.bundle / REFERENCE_FILE)
        columns = {column.name: column for column in self.spec.columns}
        hashed = self.spec.serving.log.hashed
        for feature in reference.features:
            logged = INPUT_PREFIX + feature.name
            if feature.name in columns and feature.name not in hashed and logged in self.rows.columns:
                from sextant_serving.preprocessing import encode_column

                values = encode_column(self.rows[logged].to_list(), columns[feature.name])
                yield from self._binned(feature.name, bin_index(values, feature.edges), feature.counts)
        answers = self.form.reference(reference)
        places = self.form.places(self.rows["label"].drop_nulls().to_list())
        yield from self._binned(answers.name, bin_index(places, answers.edges), answers.counts)

    def _binned(self, feature: str, bins: np.ndarray, trained: list[int]) -> Iterator[Sample]:
        total = max(sum(trained), 1)
        for place, count in enumerate(np.bincount(bins, minlength=len(trained)).tolist()):
            yield self._sample(FEATURE_BINS, count, feature, str(place))
            yield self._sample(REFERENCE_RATIO, trained[place] / total, feature, str(place))

    def _sample(self, series: Series, value: float, *labels: str) -> Sample:
        names = COMMON_LABELS + series.labels
        return Sample(series.name, dict(zip(names, self.target + labels, strict=True)), float(value))


def read_logged(logs: Path, active: ActiveModel, window: TimeWindow) -> LoggedWindow:
    """Return what the version in service logged in a window, without answers that nobody but a shadow gave.

    `logs` is the folder of the logs.

    Raises InfrastructureError for a prediction log that cannot be read.
    """
    import polars as pl

    bundle = Path(active.bundle)
    spec = read_bundle(bundle)
    files = [frame for path in sorted((logs / PREDICTION_LOG).glob("*.parquet")) for frame in _rows(path, window)]
    empty = pl.DataFrame(schema={"prediction_id": pl.String, "label": pl.String, "fallback": pl.String})
    rows = pl.concat([empty, *files], how="diagonal_relaxed")
    if files:
        # A server that was given the bundle, as on a cluster, and not the home, knows no version of the registry.
        versions = [active.version, spec.version]
        of_version = (pl.col("model") == active.name) & pl.col("version").is_in(versions)
        rows = rows.filter(of_version & (pl.col("assignment") != "mirror"))
    feedback = (logs / FEEDBACK_LOG, *sorted((logs / FEEDBACK_LOGS).glob("*.jsonl")))
    first = first_labels(feedback, frozenset(rows["prediction_id"]))
    target = (active.name, active.version, "stable")
    return LoggedWindow(target, window, rows, first.labels, first.broken, spec, bundle)


def _rows(path: Path, window: TimeWindow) -> Iterator[pl.DataFrame]:
    """Yield a file's rows of the window if it has any; names come as words instead of as a file's own dictionary."""
    import polars as pl

    start, end = (pl.from_epoch(pl.lit(round(1e6 * each)), "us").dt.replace_time_zone("UTC") for each in _ends(window))
    try:
        found = pl.scan_parquet(path).filter((pl.col("time") >= start) & (pl.col("time") < end)).collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InfrastructureError(f"{path}: not a prediction log. Move the file away and run again.") from error
    if found.height:
        yield found.with_columns(pl.col(pl.Categorical).cast(pl.String))


def _ends(window: TimeWindow) -> tuple[float, float]:
    return window.start, window.end
