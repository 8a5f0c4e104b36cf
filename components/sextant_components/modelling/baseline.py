"""The goal's baseline: what a model has to beat to be worth having."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sextant_components.data.corrections import CORRECTION, ORIGINAL_LABEL
from sextant_components.data.sources import answer_columns
from sextant_components.data.tables import read_features, read_rows, read_split
from sextant_plan.entrypoints import EntrypointError, entrypoint_digest, load_entrypoint
from sextant_plan.schema import Baseline, Data, Plan

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class FittedBaseline:
    """A baseline that can answer; `digest` is that of the user's package, None for a constant.

    `constant` is the majority class, or the mean of the numbers in a regression.
    """

    kind: str
    constant: str | float
    entrypoint: str | None = None
    digest: str | None = None

    def describe(self) -> dict[str, Any]:
        """Return what evidence says of the baseline, as JSON values."""
        return {
            "kind": self.kind,
            "majority" if isinstance(self.constant, str) else "mean": self.constant,
            "entrypoint": self.entrypoint,
            "distribution": self.digest,
        }

    def predict(self, rows: Sequence[dict[str, Any]]) -> list[Any]:
        """Return one label for each row of the table, labels and raters left out (see `baseline_rows`).

        It is text or a number, as the plan's labels are.

        Raises EntrypointError if the user's function raises, or does not return one label for each row.
        """
        if self.entrypoint is None:
            return [self.constant] * len(rows)
        function = load_entrypoint(self.entrypoint)
        try:
            answers = function([dict(row) for row in rows])
        except Exception as error:  # the user's function may raise anything
            raise EntrypointError(
                self.entrypoint,
                f"raised {type(error).__name__} on {len(rows)} rows",
                "It takes a list of dictionaries, one a row, and returns a list of labels",
            ) from error
        if (
            not isinstance(answers, list)
            or len(answers) != len(rows)
            or not all(_is_like(label, self.constant) for label in answers)
        ):
            found = f"{len(answers)} answers" if isinstance(answers, list) else type(answers).__name__
            wanted = "label (str)" if isinstance(self.constant, str) else "number"
            raise EntrypointError(
                self.entrypoint, f"returned {found} for {len(rows)} rows", f"Return a list with one {wanted} a row"
            )
        return answers


def _is_like(label: object, constant: str | float) -> bool:
    """Tell whether a user's answer is of the labels' kind: text, or a finite number."""
    if isinstance(constant, str):
        return isinstance(label, str)
    return isinstance(label, int | float) and math.isfinite(label)


def fit_baseline(baseline: Baseline, train_labels: Sequence[str] | Sequence[float]) -> FittedBaseline:
    """Return the baseline over the given training labels: text or numbers."""
    constant = _constant(train_labels)
    if baseline.entrypoint is None:
        return FittedBaseline(baseline.kind, constant)
    return FittedBaseline(baseline.kind, constant, baseline.entrypoint, entrypoint_digest(baseline.entrypoint))


def _constant(labels: Sequence[str] | Sequence[float]) -> str | float:
    """Return the mean of numbers, or the most frequent class; of equally frequent ones the first by name wins."""
    if isinstance(labels[0], float):
        return math.fsum(map(float, labels)) / len(labels)
    counts = Counter(map(str, labels))
    return min(counts, key=lambda label: (-counts[label], label))


def baseline_rows(rows: pl.DataFrame, data: Data, features: pl.DataFrame | None = None) -> list[dict[str, Any]]:
    """Return the table's rows as a heuristic may see them: no label, no rater's label, nothing of Sextant's own.

    `features` are those of `tables.read_features`, matched by `row_id`; a missing one is None.
    """
    hidden = {"label", "row_id", "image_sha256", data.label, *answer_columns(data)}
    if data.corrections is not None:
        hidden |= {ORIGINAL_LABEL, CORRECTION}
    if features is not None:
        new = [name for name in features.columns if name == "row_id" or name not in rows.columns]
        rows = rows.join(features.select(new), on="row_id", how="left", maintain_order="left")
    return rows.drop([name for name in rows.columns if name in hidden]).to_dicts()


def answer_baseline(
    plan: Plan, snapshot: Path, splits: Path, row_ids: Sequence[int]
) -> tuple[FittedBaseline, list[Any]]:
    """Return the goal's baseline, fitted on the training rows, and its answers to the given rows.

    It sees what the model may see: the table's columns and the features as of each row's time.
    """
    baseline = fit_baseline(plan.goal.baseline, read_split(splits, "train")["label"].to_list())
    rows = read_rows(snapshot)[list(row_ids)]
    return baseline, baseline.predict(baseline_rows(rows, plan.data, read_features(splits)))
