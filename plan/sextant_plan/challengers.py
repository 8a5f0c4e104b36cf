"""Challengers: the versions that run beside the champion in one server, and how much traffic each gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from sextant_plan.schema import Closed
from sextant_plan.types import Name

MOST_CHALLENGERS = 8  # each is a value of the label `variant` of every series, and a model in memory


class Challenger(Closed):
    """One version beside the champion; `variant` is its label in metrics, logs and headers.

    Role `ab` answers `percent` of the units in the champion's place. Role `shadow` answers nobody: copies of
    `percent` of the requests are sent to it. `bundle` and `feature_repo` are folders.
    """

    variant: Name
    version: str
    digest: str
    bundle: str
    feature_repo: str | None = None
    role: Literal["ab", "shadow"]
    percent: float = Field(ge=0, le=100)


def check_challengers(challengers: Sequence[Challenger]) -> Sequence[Challenger]:
    """Return `challengers` if they can run together; raises ValueError."""
    if len(challengers) > MOST_CHALLENGERS:
        raise ValueError(f"more than {MOST_CHALLENGERS} challengers")
    names = [one.variant for one in challengers]
    if len(set(names)) < len(names):
        raise ValueError("two challengers of one variant")
    if sum(one.percent for one in challengers if one.role == "ab") > 100:
        raise ValueError("A/B shares of more than 100 percent")
    return challengers


Challengers = Annotated[tuple[Challenger, ...], AfterValidator(check_challengers)]
