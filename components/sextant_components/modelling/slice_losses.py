"""What a changed model loses against the one it stands for, on all rows and on every value of a slice column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sextant_components.modelling.objectives import Objective
from sextant_plan.bounds import Groups, taken
from sextant_plan.ledger import LedgerWriter, finite_or_none
from sextant_plan.verdicts import Estimate, Verdict

CONFIDENCE = 0.95
ALL_ROWS = "all rows"


def slice_losses(
    objective: Objective,
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    labels: NDArray[Any],
    slices: Mapping[str, Sequence[str]],
    *,
    spread: float,
    groups: Groups = None,
) -> dict[str, Estimate]:
    """Return the loss on all rows and on each slice, as shares of accuracy or of the training labels' `spread`.

    `before` and `after` are both models' answers to the same rows, `groups` the rows' groups. A bound is one-sided at
    0.95.
    """
    one, other = (objective.merit(outputs, labels) for outputs in (before, after))
    return {
        name: _in_spreads(objective.gain(one[rows], other[rows], CONFIDENCE, taken(groups, rows)), spread)
        for name, rows in rows_by_slice(slices, len(labels)).items()
    }


def rows_by_slice(slices: Mapping[str, Sequence[str]], count: int) -> dict[str, NDArray[np.bool_]]:
    """Return which of `count` rows are in each slice, BOOL (count,), all rows first; `slices` has columns by name."""
    parts = {ALL_ROWS: np.ones(count, dtype=np.bool_)}
    for column, values in slices.items():
        named = np.asarray(values)
        parts |= {f"{column}={value}": named == value for value in np.unique(named)}
    return parts


def _in_spreads(loss: Estimate, spread: float) -> Estimate:
    value, low, high = (each / spread for each in (loss.value, loss.low, loss.high))
    return Estimate(value, low, high, loss.n, loss.confidence)


def refused_by(losses: Mapping[str, Estimate], tolerated: float) -> list[str]:
    """Return the slices on which a loss of more than `tolerated` is not ruled out.

    That each slice is within its bound is claimed of all together, which needs no correction (intersection-union,
    Berger 1982).
    """
    return [name for name, loss in losses.items() if not loss.high <= tolerated]


def record_form(
    ledger: LedgerWriter,
    form: str,
    losses: Mapping[str, Estimate],
    *,
    tolerated: float,
    taken: bool,
    sizes: tuple[int, int],
) -> None:
    """Record a smaller form of the model with what it loses on each slice; `sizes` are before and after."""
    refused = refused_by(losses, tolerated)
    worst = max(losses, key=lambda name: losses[name].high)
    table = {name: [*map(finite_or_none, (loss.value, loss.low, loss.high)), loss.n] for name, loss in losses.items()}
    ledger.record(
        f"compression: {form}",
        requirement=f"the {form} model is taken only if it is proved to lose at most {tolerated:g} on every slice",
        risk="a smaller model is paid for by a minority of the rows",
        qa_method=f"both models' answers to the same validation rows, {ALL_ROWS} and every slice; upper bound of the "
        f"paired loss, one-sided at {CONFIDENCE:g}; a slice too small to tell refuses",
        verdict=Verdict.PASS,
        value={"taken": taken, "refused_by": refused, "worst": worst, "size_before": sizes[0], "size_after": sizes[1]},
        artifacts={"slices.json": ledger.artifacts.put_json(table)},
        counts=False,
    )
