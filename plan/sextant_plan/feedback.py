"""Feedback: what a client sends once the truth is known, and what the server writes down of it."""

from __future__ import annotations

import math
import re
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from sextant_plan.schema import Closed

FEEDBACK_LOG, FEEDBACK_LOGS = "feedback.jsonl", "feedback"
"""The log in a folder of logs; where several servers wrote one each, the folder of theirs."""

Outcome = Literal["agree", "disagree", "measured", "abstained", "repeated", "unmatched"]
"""How a label meets its prediction: `repeated` had a label before, `unmatched` is no longer remembered.

A number is neither right nor wrong, so its label is `measured` against it.
"""

ShortText = Annotated[str, StringConstraints(min_length=1, max_length=256)]
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")  # what the join with predictions reads too

Stars = Annotated[int, Field(strict=True, ge=1, le=5)]
RATED = "rated"  # the outcome that answers a rating without a label
SATISFIED_FROM = 4  # of five, as where users try a canary (rollout.acceptance)


def is_number(label: str) -> bool:
    """Tell whether a label is a finite decimal number, the only truth that a number can be held against."""
    return _DECIMAL.fullmatch(label) is not None and math.isfinite(float(label))


class Feedback(Closed):
    """The body of POST /feedback: the true label of one prediction, what its user thinks of it from 1 to 5, or both."""

    prediction_id: ShortText
    label: ShortText | None = None
    rating: Stars | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.label is None and self.rating is None:
            raise ValueError("give a label, a rating, or both")
        return self


class FeedbackRecord(Closed):
    """One line of the feedback log; `predicted` is None where the model abstained or is not known any more.

    `model`, `version` and `variant` are those that made the prediction, or that received an unmatched label.
    `received` is Unix time in seconds.
    """

    prediction_id: str
    label: str
    predicted: str | None
    outcome: Outcome
    model: str
    version: str
    variant: str
    received: float
