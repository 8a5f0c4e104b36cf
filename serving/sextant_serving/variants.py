"""The variants of one process: which of them answers a request, and which get a copy of it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sextant_plan.challengers import Challenger
from sextant_plan.prediction_log import Assignment
from sextant_serving.assignment import Allocation, experiment_of, salt_of
from sextant_serving.errors import NoSuchVariant
from sextant_serving.mirror import Mirror
from sextant_serving.model import Model
from sextant_serving.rows import Rows

UNIT_HEADER = b"x-sextant-unit"
VARIANT_HEADER = b"x-sextant-variant"


@dataclass(frozen=True, slots=True)
class Choice:
    """The variant that answers a request, and what decided it; `unit` is None where an experiment counts none."""

    model: Model
    assignment: Assignment
    unit: bytes | None = None


class Variants:
    """The champion and its challengers, fixed; a hot swap puts another set in its place."""

    def __init__(
        self,
        champion: Model,
        challengers: Sequence[tuple[Challenger, Model]] = (),
        experiment: str | None = None,
        mirrors: Sequence[Mirror] = (),
    ) -> None:
        """Set up the assignment; `mirrors` hold the challengers whose role is shadow."""
        self.champion = champion
        self.mirrors = list(mirrors)
        self.models = [champion, *(model for _, model in challengers)]
        self._by_name = {model.variant.encode(): model for model in self.models}
        settings = [setting for setting, _ in challengers]
        self.experiment = experiment or experiment_of(settings)
        percents = {one.variant: one.percent for one in settings if one.role == "ab"}
        self._allocation = Allocation(percents, salt_of(self.experiment)) if percents else None
        self.named_in_answers = bool(challengers)

    def choose(self, headers: Mapping[bytes, bytes], rows: Rows) -> Choice:
        """Return the variant for a request whose header names are lower case.

        A variant named in the request decides, then the unit: the header's, or the one entity that all rows share.
        A request without a unit is assigned by chance, so that shares hold though nobody sticks. Raises NoSuchVariant.
        """
        named = headers.get(VARIANT_HEADER)
        if named is not None:
            model = self._by_name.get(named)
            if model is None:
                raise NoSuchVariant([one.variant for one in self.models])
            return Choice(model, "header")
        if self._allocation is None:
            unit = unit_of(headers, rows) if self.mirrors else None
            return Choice(self.champion, "only", unit)
        unit = unit_of(headers, rows)
        chosen = self._allocation.variant_of(unit or random.randbytes(8))  # noqa: S311 - chance, not a secret
        model = self.champion if chosen is None else self._by_name[chosen.encode()]
        return Choice(model, "chance" if unit is None else "unit", unit)


def unit_of(headers: Mapping[bytes, bytes], rows: Rows) -> bytes | None:
    """Return what a request's assignment sticks to, None if it names nothing."""
    unit = headers.get(UNIT_HEADER)
    if unit:
        return unit
    keys = rows.keys
    if keys and (len(keys) == 1 or len(set(keys)) == 1):
        return keys[0].encode()
    return None
