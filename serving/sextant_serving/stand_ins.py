"""What answers when the network cannot: the version before it, then what the training rows say on average."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sextant_plan.bundle import BundleSpec, read_bundle
from sextant_plan.catalogue import BASELINE, PREVIOUS_VERSION
from sextant_plan.errors import SextantError
from sextant_plan.reference import FeatureReference, Reference
from sextant_serving.engines import Engine, Inputs, Outputs, check_golden, load_engine

_log = logging.getLogger(__name__)


class Baseline:
    """Answers every row alike: with the classes' shares of the training rows, or with the median of their labels."""

    def __init__(self, spec: BundleSpec, reference: Reference) -> None:
        if spec.classes:
            counts = np.array([reference.classes.get(name, 0) for name in spec.classes], dtype=np.float32)
            self._answer = counts / max(counts.sum(), 1)
        else:
            assert reference.prediction is not None
            self._answer = np.array([_median(reference.prediction)], dtype=np.float32)

    def run(self, inputs: Inputs) -> Outputs:
        """Return the same answer for each row."""
        return np.tile(self._answer, (len(next(iter(inputs.values()))), 1))


def _median(bins: FeatureReference) -> float:
    """Return the edge nearest to the middle of the counted values; where all are alike, that value."""
    if not bins.edges:
        return bins.low or 0.0
    below = np.cumsum(bins.counts)[:-1]  # how many values lie below each edge
    return bins.edges[int(np.abs(below - sum(bins.counts) / 2).argmin())]


@dataclass(frozen=True)
class StandIn:
    """An engine that may answer in the network's place; `reason` is what its answers are marked and counted by."""

    reason: str
    engine: Engine


class Guarded:
    """An engine whose failures are answered by the first stand-in that does not fail.

    A failure is an error of the engine's library, or an answer that is not a number.
    """

    def __init__(self, engine: Engine, stand_ins: Sequence[StandIn] = ()) -> None:
        self._engine, self._stand_ins = engine, stand_ins
        self._failing = False

    def run(self, inputs: Inputs) -> tuple[Outputs, str | None]:
        """Return the answers, and the reason by which a stand-in gave them; raises the engine's error without one."""
        if not self._stand_ins:
            return self._engine.run(inputs), None
        try:
            outputs = _numbers(self._engine.run(inputs))
        except Exception as error:  # each engine's library has its own classes, and all of them mean no answer
            if not self._failing:
                _log.error("the engine failed, and stand-ins answer: %s", type(error).__name__)
            self._failing = True
            return self._stood_in(inputs, error)
        if self._failing:
            _log.warning("the engine answers again")
        self._failing = False
        return outputs, None

    def _stood_in(self, inputs: Inputs, error: Exception) -> tuple[Outputs, str]:
        for each in self._stand_ins:
            try:
                return _numbers(each.engine.run(inputs)), each.reason
            except Exception as other:  # as above
                _log.error("the stand-in %s failed as well: %s", each.reason, type(other).__name__)
        raise error


def _numbers(outputs: Outputs) -> Outputs:
    if not np.isfinite(outputs).all():
        raise ArithmeticError("an answer is not a number")
    return outputs


def load_stand_ins(spec: BundleSpec, reference: Reference, previous: Path | None, *, threads: int) -> list[StandIn]:
    """Return the stand-ins of `serving.fallback.engine_failure`, in its order.

    A previous version that cannot take this one's place is left out with a warning: that is no reason not to serve.
    """
    found = []
    for reason in spec.serving.engine_failure:
        if reason == BASELINE:
            found.append(StandIn(reason, Baseline(spec, reference)))
        elif previous is not None and (engine := _load_previous(spec, previous, threads)) is not None:
            found.append(StandIn(reason, engine))
    return found


def _load_previous(spec: BundleSpec, bundle: Path, threads: int) -> Engine | None:
    try:
        before = read_bundle(bundle)
        if (before.inputs, before.columns, before.classes) != (spec.inputs, spec.columns, spec.classes):
            _log.warning("no %s stands in: it reads or answers otherwise (%s)", PREVIOUS_VERSION, bundle)
            return None
        engine = load_engine(bundle, before, threads=threads)
        check_golden(engine, bundle, before)
    except SextantError as error:
        _log.warning("no %s stands in: %s", PREVIOUS_VERSION, error)
        return None
    return engine
