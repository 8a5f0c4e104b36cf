"""Delayed labels: the last predictions are remembered, so that a label can be compared with its own."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from sextant_plan.feedback import RATED, Feedback, FeedbackRecord, Outcome
from sextant_serving.errors import BadRequest, LabelNotKept, LogUnwritable
from sextant_serving.metrics import ModelMetrics
from sextant_serving.whole_lines import WholeLines

_log = logging.getLogger(__name__)

# The predicted label, None where the model abstained, and who counts it.
Made = tuple[str | None, ModelMetrics]

# How a prediction met its label, and who counts it.
Judged = tuple[FeedbackRecord, ModelMetrics]


class Told(NamedTuple):
    """The label that a prediction got, and whether it is its unit's first, by which the unit is counted."""

    label: str
    counts_for_unit: bool


class FeedbackBook:
    """Remembers the last `capacity` predictions; writes each label as a JSON line to `log` if one is given."""

    def __init__(self, capacity: int, log: Path | None) -> None:
        self._capacity = capacity
        # Ordered, since a plain dict looks for its oldest among the places of all that have gone.
        self._predictions: OrderedDict[str, Made] = OrderedDict()
        self._units: dict[str, bytes] = {}
        self._counted_units: OrderedDict[bytes, None] = OrderedDict()
        self._copies: OrderedDict[str, list[Made]] = OrderedDict()
        self._labelled: OrderedDict[str, Told] = OrderedDict()
        try:
            self._log = WholeLines(log) if log else None
        except OSError as error:
            assert log is not None
            raise LogUnwritable(log, "--feedback-log", error.strerror or type(error).__name__) from error
        self._failing = False

    def remember(
        self, ids: Iterable[str], labels: Iterable[str | None], metrics: ModelMetrics, unit: bytes | None = None
    ) -> None:
        """Keep each prediction's label, None where the model abstained, and its unit; the oldest make way.

        Of a unit, which may be as long as a request, a digest is kept: it is only ever compared.
        """
        unit = None if unit is None else blake2b(unit, digest_size=16).digest()
        for identifier, label in zip(ids, labels, strict=True):
            self._predictions[identifier] = (label, metrics)
            if unit is not None:
                self._units[identifier] = unit
        while len(self._predictions) > self._capacity:
            oldest, _ = self._predictions.popitem(last=False)
            self._units.pop(oldest, None)

    def remember_copies(self, ids: Iterable[str], labels: Iterable[str | None], metrics: ModelMetrics) -> None:
        """Keep what a shadow says of predictions that another variant made, to be judged by the same label.

        A shadow is slower than who answers, so that the label may have come already.
        """
        for identifier, predicted in zip(ids, labels, strict=True):
            told = self._labelled.get(identifier)
            if told is None:
                self._copies.setdefault(identifier, []).append((predicted, metrics))
                continue
            judged = [_judge(identifier, told, (predicted, metrics))]
            with suppress(LabelNotKept):  # nobody could send it again; the log has the label beside the first answer
                self._write(judged)
            _count(judged, told)
        while len(self._copies) > self._capacity:
            self._copies.popitem(last=False)

    def remembers(self, identifier: str) -> bool:
        """Tell whether a label for this prediction could be held against anything, or repeats one."""
        return any(identifier in known for known in (self._predictions, self._labelled, self._copies))

    def receive(self, feedback: Feedback, current: ModelMetrics) -> str:
        """Count a rating, a label or both with the model that made the prediction; return how it was met.

        The first label of a prediction counts and is logged; a later one is `repeated`. It also counts for, and is
        logged beside, what shadows said of the same request. A rating counts for `current` where the maker of its
        prediction is not known any more. Raises BadRequest for a label that is no number where the answer was one, and
        LabelNotKept if the log cannot be written; nothing is counted then, so that the label can be sent again.
        """
        made = self._predictions.get(feedback.prediction_id)
        maker = made[1] if made is not None else current
        if feedback.label is not None and not maker.form.takes(feedback.label):
            raise BadRequest(
                "label", "not a finite number, as the model's answers are", 'Send one as text, like "12.5"'
            )
        outcome = RATED
        if feedback.label is not None:
            outcome = self._receive_label(feedback.prediction_id, feedback.label, current)
        if feedback.rating is not None:
            maker.ratings[feedback.rating] += 1
        return outcome

    def _receive_label(self, identifier: str, label: str, current: ModelMetrics) -> Outcome:
        made, unit = self._predictions.get(identifier), self._units.get(identifier)
        told = Told(label, made is not None and unit is not None and unit not in self._counted_units)
        judged = [_judge(identifier, told, copy) for copy in self._copies.get(identifier, ())]
        if made is None:
            outcome: Outcome = "repeated" if identifier in self._labelled else "unmatched"
            judged.append((_record(identifier, label, None, current, outcome), current))
        else:
            judged.append(_judge(identifier, told, made))
        self._write(judged)
        self._copies.pop(identifier, None)
        if made is not None:
            del self._predictions[identifier]
            self._units.pop(identifier, None)
            self._mark_labelled(identifier, told)
        if told.counts_for_unit and unit is not None:
            self._mark_counted(unit)
        _count(judged, told)
        return judged[-1][0].outcome

    def _write(self, judged: Sequence[Judged]) -> None:
        """Log how a label was met, whole or not at all. Raises LabelNotKept."""
        if self._log is None:
            return
        try:
            self._log.append(b"".join(record.model_dump_json().encode() + b"\n" for record, _ in judged))
        except OSError as error:
            if not self._failing:
                _log.error("labels are refused, for the feedback log cannot be written: %s", error.strerror)
            self._failing = True
            raise LabelNotKept from error
        if self._failing:
            _log.warning("the feedback log is written again")
        self._failing = False

    def _mark_counted(self, unit: bytes) -> None:
        self._counted_units[unit] = None
        if len(self._counted_units) > self._capacity:
            self._counted_units.popitem(last=False)

    def _mark_labelled(self, identifier: str, told: Told) -> None:
        self._labelled[identifier] = told
        if len(self._labelled) > self._capacity:
            self._labelled.popitem(last=False)

    def close(self) -> None:
        """Close the log."""
        if self._log:
            self._log.close()


def _judge(identifier: str, told: Told, made: Made) -> Judged:
    """Return how a prediction meets its label."""
    predicted, metrics = made
    outcome: Outcome = "abstained" if predicted is None else metrics.form.met(predicted, told.label)
    return _record(identifier, told.label, predicted, metrics, outcome), metrics


def _record(
    identifier: str, label: str, predicted: str | None, metrics: ModelMetrics, outcome: Outcome
) -> FeedbackRecord:
    model, version, variant = metrics.labels
    return FeedbackRecord(
        prediction_id=identifier,
        label=label,
        predicted=predicted,
        outcome=outcome,
        model=model,
        version=version,
        variant=variant,
        received=time.time(),
    )


def _count(judged: Iterable[Judged], told: Told) -> None:
    """Count how a label was met, and for the unit if the label does."""
    for record, metrics in judged:
        metrics.feedback[record.outcome] += 1
        if told.counts_for_unit and record.outcome in metrics.units:
            metrics.units[record.outcome] += 1
