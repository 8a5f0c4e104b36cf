"""One inference request of any protocol on its way: which variant answers it, and how it is read."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sextant_plan.prediction_log import Assignment
from sextant_serving.model import Model
from sextant_serving.rows import Rows
from sextant_serving.variants import Variants


@dataclass(slots=True)
class Call:
    """A request to a set of variants; the champion answers until `assign` has chosen.

    `headers` (lower-case names; of gRPC the metadata) may name a unit or a variant. `read_for` reads the request for
    a model, pictures left undecoded; challengers may have other inputs than the champion. `size` is the bytes that it
    holds for that. `answered` is the monotonic time from which the model's answer was there to be written.
    """

    variants: Variants
    headers: Mapping[bytes, bytes]
    read_for: Callable[[Model], Rows]
    size: int
    model: Model = field(init=False)
    assignment: Assignment = field(init=False, default="only")
    unit: bytes | None = field(init=False, default=None)
    answered: float | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.model = self.variants.champion

    def assign(self, rows: Rows) -> Rows:
        """Choose the variant by the rows as the champion reads them; returns them as the chosen one does.

        Raises NoSuchVariant, and BadRequest if the chosen one reads them otherwise and cannot.
        """
        reader = self.model
        choice = self.variants.choose(self.headers, rows)
        self.model, self.assignment, self.unit = choice.model, choice.assignment, choice.unit
        if self.model is reader or self.model.signature.reads_like(reader.signature):
            return rows
        return self.read_for(self.model)

    def finish(self, status: int, received: float) -> None:
        """Count the request, `received` at a monotonic time, as answered by now with a status of HTTP."""
        now, metrics = time.monotonic(), self.model.metrics
        metrics.count_request(status, now - received)
        if self.answered is not None:
            metrics.stages.postprocess.observe(now - self.answered)
