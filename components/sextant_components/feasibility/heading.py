"""What every heading of the feasibility study answers with, and the data that it is answered from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sextant_components.baseline import FittedBaseline, baseline_rows, fit_baseline
from sextant_plan.schema import Plan
from sextant_plan.verdicts import Verdict

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
        """The label of each row."""
        return self.rows["label"].to_list()

    @cached_property
    def baseline(self) -> tuple[FittedBaseline, list[str]]:
        """The goal's baseline, fitted on every row, and its answers to them; the user's code may take its time."""
        fitted = fit_baseline(self.plan.goal.baseline, self.labels)
        return fitted, fitted.predict(baseline_rows(self.rows, self.plan.data))


@dataclass(frozen=True)
class Heading:
    """One answer: fields as in a ledger record."""

    task: str
    requirement: str
    risk: str
    qa_method: str
    value: dict[str, Any]
    verdict: Verdict


def verdict_of(problems: list[str]) -> Verdict:
    """Return fail if there is any problem, else pass."""
    return Verdict.FAIL if problems else Verdict.PASS
