"""Feedback: what a client sends once the truth is known, and what the server writes down of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import StringConstraints

from sextant_plan.schema import Closed

Outcome = Literal["agree", "disagree", "abstained", "repeated", "unmatched"]
"""How a label meets its prediction: `repeated` had a label before, `unmatched` is no longer remembered."""

ShortText = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class Feedback(Closed):
    """The body of POST /feedback: the true label of one prediction."""

    prediction_id: ShortText
    label: ShortText


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
