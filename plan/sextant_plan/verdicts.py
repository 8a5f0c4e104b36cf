"""Three-valued verdicts, how a bound becomes one, and how verdicts become an exit code.

A gate passes only on proof: the one-sided bound at the criterion's confidence lies on the good side
and there are enough rows. Missing or too little evidence is `unknown`, and `unknown` blocks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from sextant_plan.errors import ExitCode


class Verdict(StrEnum):
    """What the evidence says of a requirement."""

    PASS = "pass"
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Estimate:
    """A measured value with its one-sided bounds, in the metric's unit.

    `low` and `high` each hold at `confidence` on their own, so together they are a two-sided interval
    at `2 * confidence - 1`. `n` counts the independent observations behind the value: rows, or
    where rows of a group depend on each other, what they are worth (docs/adr/0052).
    """

    value: float
    low: float
    high: float
    n: int
    confidence: float


def judge(estimate: Estimate | None, *, at_least: float | None, at_most: float | None, min_n: int) -> Verdict:
    """Return the gate's verdict on one criterion; exactly one limit is given.

    No estimate, a value that is not finite, or fewer than `min_n` rows is `unknown`, except that a
    proved violation is a `fail` at any n. An infinite bound means that the rows give none on that side.
    """
    if (at_least is None) == (at_most is None):
        raise ValueError("give exactly one of at_least and at_most")
    if estimate is None or not math.isfinite(estimate.value):
        return Verdict.UNKNOWN
    if not (estimate.low < math.inf and estimate.high > -math.inf):  # true too where a bound is not a number
        return Verdict.UNKNOWN
    if at_least is not None:
        good, bad = estimate.low >= at_least, estimate.high < at_least
    else:
        assert at_most is not None
        good, bad = estimate.high <= at_most, estimate.low > at_most
    if bad:
        return Verdict.FAIL
    return Verdict.PASS if good and estimate.n >= min_n else Verdict.UNKNOWN


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the verdict of a whole from its parts: any fail, else any unknown, else pass; nothing is unknown."""
    seen = set(verdicts)
    if Verdict.FAIL in seen:
        return Verdict.FAIL
    return Verdict.PASS if seen == {Verdict.PASS} else Verdict.UNKNOWN


def exit_code(verdict: Verdict) -> ExitCode:
    """Return the exit code of a run whose steps all ran and whose verdict is `verdict`."""
    return {
        Verdict.PASS: ExitCode.OK,
        Verdict.FAIL: ExitCode.GATE_FAILED,
        Verdict.UNKNOWN: ExitCode.GATE_UNKNOWN,
    }[verdict]
