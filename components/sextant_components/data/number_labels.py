"""Labels that are numbers, as the data steps see them: how they spread, and the strata that splits keep to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sextant_plan.ledger import LedgerWriter
from sextant_plan.verdicts import Verdict

if TYPE_CHECKING:
    import polars as pl

FEWEST_VALUES = 10  # below it the label is a handful of classes that happen to be written as numbers
STRATA = 10  # by quantile; each split then has small, middling and large labels alike
ROWS_A_STRATUM = 10  # one or two of them are sealed, and as many validate


def record_spread(ledger: LedgerWriter, kept: pl.Series) -> None:
    """Record how the kept rows' labels spread, and judge whether they are numbers at all."""
    labels = kept.to_numpy()
    values = len(np.unique(labels))
    quartiles = np.quantile(labels, [0.0, 0.25, 0.5, 0.75, 1.0]) if len(labels) else np.empty(0)
    ledger.record(
        "spread of the label",
        requirement=f"the label takes at least {FEWEST_VALUES} values",
        risk="numbers that name classes are averaged, and the answer lies between two of them",
        qa_method="the different labels after verification; quartiles in the label's own unit",
        value={"values": values, "quartiles": [round(float(each), 6) for each in quartiles]},
        verdict=Verdict.PASS if values >= FEWEST_VALUES else Verdict.FAIL,
    )


def strata_of(labels: Sequence[float]) -> list[str]:
    """Return a stratum for each label, by quantile, so that numbers can be split as classes are.

    Its name sorts by size. Small data gets fewer strata than STRATA, of ROWS_A_STRATUM rows each at least.
    """
    numbers = np.asarray(labels, dtype=np.float64)
    count = max(1, min(STRATA, len(numbers) // ROWS_A_STRATUM))
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, count + 1)[1:-1]))
    return [f"stratum {place}" for place in np.searchsorted(edges, numbers, side="right")]
