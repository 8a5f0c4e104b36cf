"""Delayed labels: the last predictions are remembered, so that a label can be compared with its own."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from sextant_plan.feedback import RATED, Feedback, FeedbackRecord, Outcome
from sextant_serving.errors import BadRequest, LogUnwritable
from sextant_serving.metrics import ModelMetrics

# The predicted label, None where the model abstained, and who counts it.
Made = tuple[str | None, ModelMetrics]


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
            self._log = log.open("ab", buffering=0) if log else None
        except OSError as error:
            assert log is not None
            raise LogUnwritable(log, "--feedback-log", error.strerror or type(error).__name__) from error

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
            self._judge(identifier, told, (predicted, metrics))
        while len(self._copies) > self._capacity:
            self._copies.popitem(last=False)

    def receive(self, feedback: Feedback, current: ModelMetrics) -> str:
        """Count a rating, a label or both with the model that made the prediction; return how it was met.

        The first label of a prediction counts and is logged; a later one is `repeated`. It also counts for, and is
        logged beside, what shadows said of the same request. A rating counts for `current` where the maker of its
        prediction is not known any more. Raises BadRequest, and counts nothing, for a label that is no number where the
        answer was one.
        """
        made = self._predictions.get(feedback.prediction_id)
        maker = made[1] if made is not None else current
        if feedback.label is not None and not maker.form.takes(feedback.label):
            raise BadRequest(
                "label", "not a finite number, as the model's answers are", 'Send one as text, like "12.5"'
            )
        if feedback.rating is not None:
            maker.ratings[feedback.rating] += 1
        if feedback.label is None:
            return RATED
        return self._receive_label(feedback.prediction_id, feedback.label, current).outcome

    def _receive_label(self, identifier: str, label: str, current: ModelMetrics) -> FeedbackRecord:
        remembered = self._predictions.pop(identifier, None)
        copies = self._copies.pop(identifier, [])
        told = Told(label, remembered is not None and self._is_first_of_unit(self._units.pop(identifier, None)))
        for made in copies:
            self._judge(identifier, told, made)
        if remembered is None:
            outcome: Outcome = "repeated" if identifier in self._labelled else "unmatched"
            return self._note(identifier, label, None, current, outcome)
        self._mark_labelled(identifier, told)
        return self._judge(identifier, told, remembered)

    def _is_first_of_unit(self, unit: bytes | None) -> bool:
        """Tell whether a label counts for its unit, for who answered and for shadows that had a copy."""
        if unit is None or unit in self._counted_units:
            return False
        self._counted_units[unit] = None
        if len(self._counted_units) > self._capacity:
            self._counted_units.popitem(last=False)
        return True

    def _judge(self, identifier: str, told: Told, made: Made) -> FeedbackRecord:
        """Note how a prediction met its label, and count it for the unit if the label does."""
        predicted, metrics = made
        outcome: Outcome = "abstained" if predicted is None else metrics.form.met(predicted, told.label)
        if told.counts_for_unit and outcome in metrics.units:
            metrics.units[outcome] += 1
        return self._note(identifier, told.label, predicted, metrics, outcome)

    def _note(
        self, identifier: str, label: str, predicted: str | None, metrics: ModelMetrics, outcome: Outcome
    ) -> FeedbackRecord:
        metrics.feedback[outcome] += 1
        model, version, variant = metrics.labels
        record = FeedbackRecord(
            prediction_id=identifier,
            label=label,
            predicted=predicted,
            outcome=outcome,
            model=model,
            version=version,
            variant=variant,
            received=time.time(),
        )
        if self._log:
            self._log.write(record.model_dump_json().encode() + b"\n")
        return record

    def _mark_labelled(self, identifier: str, told: Told) -> None:
        self._labelled[identifier] = told
        if len(self._labelled) > self._capacity:
            self._labelled.popitem(last=False)

    def close(self) -> None:
        """Close the log."""
        if self._log:
            self._log.close()
