"""The server's counters; names come from the catalogue alone.

Counters belong to one model each and are written on the event loop only, so they need no locks. After a
hot swap the page shows the previous model's beside the new one's, so that no last increment is lost.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from sextant_plan import catalogue
from sextant_plan.bundle import BundleSpec
from sextant_plan.catalogue import FALLBACK_REASONS, Series
from sextant_plan.feedback import Outcome
from sextant_plan.reference import Reference
from sextant_serving.answers import form_of
from sextant_serving.row_counts import RowCounts

OUTCOMES = get_args(Outcome)
CODES = ("200", "400", "404", "413", "429", "500", "503", "504")


class Samples(NamedTuple):
    """A counter or a gauge: by `keys`, the values of the labels beyond the common ones, its value."""

    series: Series
    keys: Sequence[tuple[str, ...]]
    values: Sequence[float]


class Histogram:
    """Counts by bucket; an edge belongs to its bucket (`le`)."""

    def __init__(self, series: Series, more_edges: Iterable[float] = ()) -> None:
        self.series = series
        self.edges = sorted({*series.buckets, *more_edges})
        self.keys = [*map(repr, self.edges), "+Inf"]
        self.counts = [0] * (len(self.edges) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.edges, value)] += 1
        self.sum += value

    def values(self) -> list[float]:
        """Return the counts of values at or below each of `keys`, then the count and the sum of all."""
        cumulative = list(accumulate(self.counts))
        return [*cumulative, cumulative[-1], self.sum]


class Stages:
    """How long requests spend where, under KServe's names: one for all models of a name, which outlives a hot swap."""

    def __init__(self) -> None:
        self.preprocess = Histogram(catalogue.PREPROCESS_SECONDS)
        self.predict = Histogram(catalogue.PREDICT_SECONDS)
        self.postprocess = Histogram(catalogue.POSTPROCESS_SECONDS)

    def histograms(self) -> tuple[Histogram, ...]:
        """Return every histogram."""
        return self.preprocess, self.predict, self.postprocess


class ModelMetrics:
    """One model's counters; every label value that can be known beforehand starts at 0."""

    def __init__(self, spec: BundleSpec, reference: Reference, labels: tuple[str, str, str]) -> None:
        """Set up the counters; `labels` are the model's name, version and variant."""
        self.labels = labels
        slo_edges = [edge / 1000 for edge in spec.serving.latency_edges_ms]
        self.request_seconds = Histogram(catalogue.REQUEST_SECONDS, slo_edges)
        self.queue_seconds = Histogram(catalogue.QUEUE_SECONDS)
        self.device_seconds = Histogram(catalogue.DEVICE_SECONDS)
        self.decode_seconds = Histogram(catalogue.DECODE_SECONDS)
        self.feature_seconds = Histogram(catalogue.FEATURE_SECONDS)
        self.batch_rows = Histogram(catalogue.BATCH_ROWS)
        self.stages = Stages()
        self.requests = dict.fromkeys(CODES, 0)
        self.fallbacks = dict.fromkeys(FALLBACK_REASONS, 0)
        self.feedback = dict.fromkeys(OUTCOMES, 0)
        self.units = dict.fromkeys(catalogue.UNIT_OUTCOMES, 0)
        self.ratings = dict.fromkeys(range(1, 6), 0)
        self.passed_on = dict.fromkeys(catalogue.PASSED_ON_LABELS, 0)
        self.mirror_dropped = 0
        self.log_rows = {"written": 0, "dropped": 0}
        self.feature_times: dict[str, float] = {}
        self.feature_rows: dict[tuple[str, str], int] = {}
        self.form = form_of(spec)
        self.predictions = np.zeros(len(self.form.counted), dtype=np.int64)
        self.ready = False
        self.created = spec.created
        self.seen = RowCounts(spec, reference)

    def count_request(self, code: int, seconds: float) -> None:
        """Count one answered inference request."""
        text = str(code)
        self.requests[text] = self.requests.get(text, 0) + 1
        self.request_seconds.observe(seconds)

    def count_rows(self, best: NDArray[np.intp], abstained: NDArray[np.bool_], fallbacks: Iterable[str | None]) -> None:
        """Count the rows of a batch: by class where the model answered, by reason where a fallback did."""
        answered = best[~abstained]
        self.predictions += np.bincount(answered, minlength=len(self.predictions))
        for reason in fallbacks:
            if reason is not None:
                self.fallbacks[reason] += 1

    def histograms(self) -> tuple[Histogram, ...]:
        """Return every histogram of the model alone."""
        return (
            self.request_seconds,
            self.queue_seconds,
            self.device_seconds,
            self.decode_seconds,
            self.feature_seconds,
            self.batch_rows,
        )

    def samples(self) -> Iterator[Samples]:
        """Yield every counter and gauge."""
        profiles = self.seen.bins()
        bins = [key for profile in profiles for key in profile.keys]
        yield _by_label(catalogue.REQUESTS, self.requests)
        yield _by_label(catalogue.FALLBACKS, self.fallbacks)
        yield Samples(catalogue.PREDICTIONS, [(name,) for name in self.form.counted], self.predictions.tolist())
        yield _by_label(catalogue.FEEDBACK, self.feedback)
        yield _by_label(catalogue.UNITS, self.units)
        yield _by_label(catalogue.RATINGS, {str(stars): count for stars, count in self.ratings.items()})
        yield _by_label(catalogue.PASSED_ON, self.passed_on)
        yield Samples(catalogue.MIRROR_DROPPED, [()], [self.mirror_dropped])
        yield _by_label(catalogue.LOG_ROWS, self.log_rows)
        yield Samples(catalogue.FEATURE_BINS, bins, [n for profile in profiles for n in profile.rows.tolist()])
        yield Samples(catalogue.REFERENCE_RATIO, bins, [share for profile in profiles for share in profile.ratio])
        yield _by_label(catalogue.FLAWED_ROWS, self.seen.flaws())
        yield _by_label(catalogue.FEATURE_TIME, self.feature_times)
        yield Samples(catalogue.FEATURE_ROWS, list(self.feature_rows), list(self.feature_rows.values()))
        yield Samples(catalogue.READY, [()], [self.ready])
        yield Samples(catalogue.MODEL_CREATED, [()], [self.created])


def _by_label(series: Series, values: dict[str, int] | dict[str, float]) -> Samples:
    return Samples(series, [(label,) for label in values], list(values.values()))
