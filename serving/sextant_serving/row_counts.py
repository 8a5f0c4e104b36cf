"""What goes into the network and comes out of it, counted into the bins of the training rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sextant_plan.bundle import BundleSpec
from sextant_plan.catalogue import FLAWS, MISSING, UNKNOWN_CATEGORY
from sextant_plan.reference import PICTURE_FEATURES, Reference, bin_index
from sextant_serving.answers import form_of
from sextant_serving.preprocessing import Sampled, sampled, statistics_of
from sextant_serving.rows import joined

# Counting takes dozens of small NumPy calls, whose cost is nearly the same for one row as for these.
ROWS_AT_ONCE = 32

Statistics = dict[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Seen:
    """A batch: `features` FP32 (rows, columns), `image` UINT8 (rows, height, width, channels), each None if not read.

    `outputs` is FP32 (rows, classes or 1), `missing` BOOL (rows,), `statistics` those of the pictures if they were
    wanted before, by name, shape (rows,).
    """

    features: NDArray[np.float32] | None
    image: NDArray[np.uint8] | None
    outputs: NDArray[np.float32]
    missing: NDArray[np.bool_]
    statistics: Statistics | None = None


@dataclass(slots=True)
class Waiting:
    """What is counted of a batch, as `Seen` has it; of the pictures only what their statistics read."""

    features: NDArray[np.float32] | None
    pictures: Sampled | None
    outputs: NDArray[np.float32]
    missing: NDArray[np.bool_]
    statistics: Statistics | None

    def keep(self) -> None:
        """Keep nothing alive but itself: the arrays are often views of a request's body."""
        if self.features is not None:
            self.features = _owned(self.features)
        if self.pictures is not None:
            self.pictures = Sampled(_owned(self.pictures.fine), _owned(self.pictures.coarse))


def _owned(array: NDArray[Any]) -> NDArray[Any]:
    return array if array.base is None else array.copy()


class BinCounter:
    """One input's rows by training bin; `place` is its column of the features tensor, None for a picture's."""

    def __init__(self, name: str, edges: Sequence[float], counts: Sequence[int], place: int | None) -> None:
        self.name, self.place = name, place
        self.edges = np.asarray(edges, dtype=np.float64)
        reference = np.asarray(counts, dtype=np.float64)
        self.ratio = (reference / max(reference.sum(), 1.0)).tolist()
        self.keys = [(name, str(place)) for place in range(len(counts))]
        self.rows = np.zeros(len(counts), dtype=np.int64)

    def count(self, values: NDArray[np.floating[Any]] | NDArray[np.intp]) -> None:
        """Count values of shape (rows,)."""
        self.rows += np.bincount(bin_index(values, self.edges), minlength=len(self.rows))


class RowCounts:
    """The rows of one model by bin and by flaw; batches wait until it pays to count them, or until somebody looks."""

    def __init__(self, spec: BundleSpec, reference: Reference) -> None:
        """Set up a counter for each measured input, and one for the answers."""
        self._form = form_of(spec)
        measured = {column.name: place for place, column in enumerate(spec.columns)}
        self._inputs = [
            BinCounter(feature.name, feature.edges, feature.counts, measured.get(feature.name))
            for feature in reference.features
            if feature.name in measured or (spec.image and feature.name in PICTURE_FEATURES)
        ]
        answers = self._form.reference(reference)
        self._answers = BinCounter(answers.name, answers.edges, answers.counts, None)
        self._vocabularies = [
            (place, len(column.vocabulary))
            for place, column in enumerate(spec.columns)
            if column.vocabulary is not None
        ]
        self._flaws = dict.fromkeys(FLAWS, 0)
        self._uncounted: list[Waiting] = []
        self.waiting = 0  # rows that are not counted yet

    def see(self, batch: Seen) -> None:
        """Take a batch to be counted."""
        pictures = sampled(batch.image) if batch.image is not None and batch.statistics is None else None
        waiting = Waiting(batch.features, pictures, batch.outputs, batch.missing, batch.statistics)
        self._uncounted.append(waiting)
        self.waiting += len(batch.outputs)
        if self.waiting >= ROWS_AT_ONCE:
            self._count()
        else:
            waiting.keep()

    def bins(self) -> list[BinCounter]:
        """Return every counter with all rows seen so far, the answers' last."""
        self._count()
        return [*self._inputs, self._answers]

    def flaws(self) -> dict[str, int]:
        """Return the rows seen so far by flaw."""
        self._count()
        return self._flaws

    def _count(self) -> None:
        if not self._uncounted:
            return
        batches, self._uncounted, self.waiting = self._uncounted, [], 0
        features = joined([batch.features for batch in batches]) if batches[0].features is not None else None
        statistics = _statistics_of(batches)
        self._answers.count(self._form.drifting(joined([batch.outputs for batch in batches])))
        for counter in self._inputs:
            if counter.place is None:
                counter.count(statistics[counter.name])
            elif features is not None:
                counter.count(features[:, counter.place])
        self._count_flaws(features, joined([batch.missing for batch in batches]))

    def _count_flaws(self, features: NDArray[np.float32] | None, missing: NDArray[np.bool_]) -> None:
        """Count rows with a missing value, and those with a category that the vocabulary lacks."""
        self._flaws[MISSING] += int(missing.sum())
        if features is None or not self._vocabularies:
            return
        unknown = np.zeros(len(features), dtype=np.bool_)
        for place, size in self._vocabularies:
            unknown |= features[:, place] >= size
        self._flaws[UNKNOWN_CATEGORY] += int((unknown & ~missing).sum())


def _statistics_of(batches: Sequence[Waiting]) -> Statistics:
    """Return the statistics of all pictures, none where the model reads none."""
    known = [batch.statistics for batch in batches if batch.statistics is not None]
    if known:
        return {name: joined([each[name] for each in known]) for name in known[0]}
    read = [batch.pictures for batch in batches if batch.pictures is not None]
    if not read:
        return {}
    return statistics_of(Sampled(joined([each.fine for each in read]), joined([each.coarse for each in read])))
