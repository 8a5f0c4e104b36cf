"""What every heading of the feasibility study answers with, and the data that it is answered from."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sextant_components.modelling.baseline import FittedBaseline, baseline_rows, fit_baseline
from sextant_components.planning.feasibility.representation import Sample, draw_sample
from sextant_plan.bounds import proportion
from sextant_plan.schema import Plan
from sextant_plan.verdicts import Estimate, Verdict

if TYPE_CHECKING:
    import polars as pl

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Study:
    """The plan and its data as they were found; `rows` includes the features as of each row's time."""

    plan: Plan
    rows: pl.DataFrame
    pictures: list[Path] | None
    root: Path

    @cached_property
    def labels(self) -> list[str]:
        """The class of each row; empty where the label is a number (`numbers`)."""
        return self.rows["label"].to_list() if self.plan.model.answers == "class" else []

    @cached_property
    def numbers(self) -> NDArray[np.float64]:
        """The label of each row where it is a number, shape (rows,)."""
        return self.rows["label"].cast(float).to_numpy()

    @cached_property
    def baseline(self) -> tuple[FittedBaseline, list[Any]]:
        """The goal's baseline, fitted on every row, and its answers to them; the user's code may take its time."""
        fitted = fit_baseline(self.plan.goal.baseline, self.rows["label"].to_list())
        return fitted, fitted.predict(baseline_rows(self.rows, self.plan.data))

    @cached_property
    def baseline_accuracy(self) -> Estimate:
        """The baseline's accuracy on every row, with Clopper-Pearson bounds."""
        right = sum(label == answer for label, answer in zip(self.labels, self.baseline[1], strict=True))
        return proportion(right, len(self.labels), CONFIDENCE)

    @cached_property
    def sample(self) -> Sample:
        """A sample of the rows as numbers, for models that take no time."""
        return draw_sample(self)

    @property
    def promised_accuracy(self) -> float | None:
        """The highest limit on accuracy over all rows, None where the plan has none."""
        plain = [
            criterion.limit
            for criterion in self.plan.criteria
            if criterion.metric == "accuracy" and criterion.slice is None and criterion.relative_to is None
        ]
        return max(plain, default=None)


@dataclass(frozen=True)
class Heading:
    """One answer: fields as in a ledger record; `tables` become artifacts, by name."""

    task: str
    requirement: str
    risk: str
    qa_method: str
    value: dict[str, Any]
    verdict: Verdict
    counts: bool = True
    tables: dict[str, Any] = field(default_factory=dict)


def verdict_of(problems: list[str]) -> Verdict:
    """Return fail if there is any problem, else pass."""
    return Verdict.FAIL if problems else Verdict.PASS
