"""Records of criteria: every one that a step answers for is judged or said to be unknown, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan

import numpy as np

from sextant_plan.bounds import Groups
from sextant_plan.ledger import LedgerWriter, Record
from sextant_plan.schema import Criterion
from sextant_plan.verdicts import Estimate, Verdict, judge


@dataclass(frozen=True)
class Settled:
    """An answer that needs no estimate: why the verdict is what it is."""

    verdict: Verdict
    reason: str


def unavailable(reason: str) -> Settled:
    """Return the answer for a criterion that cannot be computed."""
    return Settled(Verdict.UNKNOWN, reason)


def better(gain: Estimate) -> Verdict:
    """Judge whether a gain, a difference in one's favour, is more than none at all."""
    if gain.low > 0:
        return Verdict.PASS
    return Verdict.FAIL if gain.high < 0 else Verdict.UNKNOWN


def record_criterion(
    ledger: LedgerWriter,
    criterion: Criterion,
    answer: Estimate | Settled,
    *,
    groups: Groups = None,
    artifacts: Mapping[str, str] | None = None,
) -> Record:
    """Judge one criterion and record it; `groups` are those of the rows that it is about, if any has several."""
    if isinstance(answer, Settled):
        verdict, value, estimate = answer.verdict, answer.reason, None
    else:
        verdict = judge(answer, at_least=criterion.at_least, at_most=criterion.at_most, min_n=criterion.min_n)
        value, estimate = None, answer
        if isnan(answer.value):
            value, estimate = "nothing was observed", None
    how = f"{criterion.definition.estimator}, bound by {criterion.bound}"
    if groups is not None and not criterion.definition.by_request:
        how += f" on what {len(groups)} rows in {len(np.unique(groups))} groups are worth"
    return ledger.record(
        f"criterion {criterion.id}",
        requirement=criterion.requirement,
        risk=f"a model that violates {criterion.id} reaches its users",
        qa_method=f"{how}, one-sided at {criterion.confidence:g}",
        verdict=verdict,
        value=value,
        estimate=estimate,
        criterion=criterion,
        artifacts=artifacts,
    )
