"""The k fits answering together: kept where that is proved better than the best of them, and the plan leaves the time.

One ensemble is tried, the mean of all k fits of the chosen settings, so that its gain is one claim and its interval
needs no correction for a choice among many. The best fit is the best on the very rows that judge, which favours it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sextant_components.modelling.objectives import Objective
from sextant_components.modelling.tensors import Examples
from sextant_components.modelling.training import Fitted
from sextant_plan.ledger import LedgerWriter
from sextant_plan.schema import Ensemble
from sextant_plan.verdicts import Verdict

if TYPE_CHECKING:
    from sextant_serving.architectures import Network

CONFIDENCE = 0.95
RISK = "several times the cost of every answer for nothing"


def mean_answers(answers: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the mean of several models' answers, each of shape (rows, classes or 1), as an engine computes it."""
    mean: NDArray[np.float32] = np.mean(answers, axis=0, dtype=np.float32)
    return mean


def together(networks: Sequence[Network]) -> Network:
    """Return networks of one architecture as one that answers with the mean of their answers."""
    from sextant_serving.architectures._ensemble import Averaged

    return networks[0] if len(networks) == 1 else Averaged(networks).eval()


def keep_members(
    ledger: LedgerWriter,
    wanted: Ensemble,
    objective: Objective,
    fits: Sequence[Fitted],
    *,
    best: Fitted,
    valid: Examples,
) -> list[Fitted]:
    """Record the gain of the mean of the k fits over the best one; return those that answer together, the best first.

    With one fit, or where the plan wants no ensemble, nothing is recorded.
    """
    if len(fits) < 2 or wanted.keep == "never":
        return [best]
    together = mean_answers([fitted.outputs for fitted in fits])
    own, other = (objective.merit(outputs, valid.labels) for outputs in (together, best.outputs))
    gain = objective.gain(own, other, CONFIDENCE, valid.groups)
    kept = gain.low > 0
    ledger.record(
        "ensemble",
        requirement=f"{len(fits)} fits answer together only if they are {objective.better} than the best of them",
        risk=RISK,
        qa_method=f"mean of their answers against the best fit's on the same validation rows, {objective.bound}, "
        f"one-sided at {CONFIDENCE:g}; kept if the interval excludes 0",
        verdict=Verdict.PASS,
        estimate=gain,
        counts=False,
    )
    return [best, *(fitted for fitted in fits if fitted is not best)] if kept else [best]


def record_allowance(ledger: LedgerWriter, *, members: int, milliseconds: float, allowed: float) -> bool:
    """Record whether an ensemble's fastest engine answers a full batch within what the plan leaves for it."""
    within = milliseconds <= allowed
    ledger.record(
        "ensemble latency",
        requirement=f"{members} members answer a full batch within {allowed:g} ms",
        risk=RISK,
        qa_method="median time of a full batch on the fastest equivalent engine, against the share of "
        "serving.latency_slo_ms that model.ensemble allows; beyond it the best member is served alone",
        verdict=Verdict.PASS,
        value={"members": members if within else 1},
        counts=False,
    )
    return within
