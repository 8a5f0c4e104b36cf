"""Smaller models that stand in for the chosen one: a student of its answers, and itself with hidden units left out.

Each is compared with what the search chose, never with another smaller form, so that losses do not add up unseen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from sextant_components.modelling.ensembling import mean_answers
from sextant_components.modelling.objectives import objective_of
from sextant_components.modelling.slice_losses import record_form, refused_by, slice_losses
from sextant_components.modelling.teams import alone
from sextant_components.modelling.tensors import Examples
from sextant_components.modelling.training import Fitted, Settings, Shape, fit, predict
from sextant_components.modelling.tuning import size
from sextant_plan.ledger import LedgerWriter
from sextant_plan.schema import Compress, Model
from sextant_plan.verdicts import Verdict
from sextant_serving.architectures import GRADIENT_BOOSTING, slim

if TYPE_CHECKING:
    from sextant_serving.architectures import Network

TEACHER_SHARE = 0.7  # of the student's loss; the rest is the label's, so that a wrong teacher is not believed alone
TEMPERATURE = 2.0  # softens the teacher's answers, so that what it holds possible weighs too (Hinton et al. 2015)
FURTHER = 0.5  # share of the plan's epochs, and of the learning rate, by which a pruned network is fitted on


@dataclass(frozen=True)
class Workshop:
    """What smaller models are made from; `members` is the chosen model, most often one fit."""

    model: Model
    members: Sequence[Fitted]
    shape: Shape
    train: Examples
    valid: Examples
    slices: Mapping[str, Sequence[str]]

    @property
    def wanted(self) -> Compress:
        """What the plan asks for."""
        return self.model.compress or Compress()


def smaller(ledger: LedgerWriter, workshop: Workshop) -> list[Fitted]:
    """Record each smaller model that the plan asks for; return the last one that no slice refuses, or the members."""
    kept = list(workshop.members)
    if workshop.wanted.distil is not None:
        kept = _judged(ledger, workshop, "distilled", kept, _student(workshop))
    if workshop.wanted.prune is not None:
        pruned = _pruned(workshop, kept[0]) if len(kept) == 1 else None
        if pruned is None:
            _record_nothing_to_prune(ledger, kept)
        else:
            kept = _judged(ledger, workshop, "pruned", kept, pruned)
    return kept


def _judged(ledger: LedgerWriter, workshop: Workshop, form: str, kept: list[Fitted], candidate: Fitted) -> list[Fitted]:
    """Record one smaller model against the chosen one; return it, or what was kept before if it is refused."""
    before = mean_answers([member.outputs for member in workshop.members])
    objective = objective_of(workshop.train.labels)
    valid = workshop.valid
    losses = slice_losses(
        objective,
        before,
        candidate.outputs,
        valid.labels,
        workshop.slices,
        spread=objective.scale,
        groups=valid.groups,
    )
    sizes = sum(map(size, kept)), size(candidate)
    taken = not refused_by(losses, workshop.wanted.slice_loss) and sizes[1] < sizes[0]
    record_form(ledger, form, losses, tolerated=workshop.wanted.slice_loss, taken=taken, sizes=sizes)
    return [candidate] if taken else kept


def _student(workshop: Workshop) -> Fitted:
    """Fit the plan's student to the teacher's answers to the training rows, mixed with their labels."""
    student = workshop.wanted.distil
    assert student is not None
    taught = mean_answers([predict(member.network, workshop.train.inputs) for member in workshop.members])
    lesson = replace(workshop.train, labels=mixed_labels(workshop.train.labels, taught))
    settings = replace(_network_settings(workshop), architecture=student.architecture, params=student.params)
    return fit(settings, workshop.shape, lesson, workshop.valid, team=alone())


def _network_settings(workshop: Workshop) -> Settings:
    """Return the teacher's settings, or where it is trees the middle of what the plan searches for networks."""
    settings = workshop.members[0].settings
    if settings.architecture != GRADIENT_BOOSTING:
        return settings
    rate, decay = (
        math.sqrt(math.prod(span)) for span in (workshop.model.search.learning_rate, workshop.model.search.weight_decay)
    )
    return replace(settings, learning_rate=rate, weight_decay=decay, training=workshop.model.training)


def _pruned(workshop: Workshop, whole: Fitted) -> Fitted | None:
    """Leave out the weakest hidden units and fit on; None where the model has none to leave out."""
    assert workshop.wanted.prune is not None
    settings = whole.settings
    if settings.architecture == GRADIENT_BOOSTING:
        return None
    network = cast("Network", whole.network)
    slimmed = slim(settings.architecture, network, settings.params, share=workshop.wanted.prune)
    if slimmed is None:
        return None
    params, start = slimmed
    shorter = replace(
        settings,
        params=params,
        epochs=max(1, round(FURTHER * settings.epochs)),
        learning_rate=FURTHER * settings.learning_rate,
    )
    return fit(shorter, workshop.shape, workshop.train, workshop.valid, team=alone(), start=start)


def _record_nothing_to_prune(ledger: LedgerWriter, kept: Sequence[Fitted]) -> None:
    several = f"{len(kept)} fits answer together, which are not pruned"
    ledger.record(
        "compression: pruned",
        requirement="what the plan asks for is tried",
        risk="a plan that asks for a smaller model is believed to have one",
        qa_method="the architecture says which of its parameters counts hidden units",
        verdict=Verdict.UNKNOWN,
        value=several if len(kept) > 1 else f"{kept[0].settings.architecture} has no hidden units to leave out",
        counts=False,
    )


def mixed_labels(labels: NDArray[Any], taught: NDArray[np.float32]) -> NDArray[Any]:
    """Return what a student learns from: softened probabilities, shape (rows, classes), or numbers, shape (rows,)."""
    if labels.dtype.kind == "f":
        numbers: NDArray[np.float64] = TEACHER_SHARE * taught[:, 0].astype(np.float64) + (1 - TEACHER_SHARE) * labels
        return numbers
    soft = np.maximum(taught, 1e-12) ** (1 / TEMPERATURE)
    soft = TEACHER_SHARE * soft / soft.sum(axis=1, keepdims=True)
    soft[np.arange(len(labels)), labels] += 1 - TEACHER_SHARE
    probabilities: NDArray[np.float32] = soft.astype(np.float32)
    return probabilities
