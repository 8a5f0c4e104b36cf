"""Attributions of a few validation rows, for an expert to look at before the model is released.

They are made of the trained network or trees, on rows of each class in turn; the sealed rows stay closed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sextant_components.evidence import charts
from sextant_components.modelling.explanation import columns_left_out, integrated_gradients
from sextant_components.modelling.tensors import Examples
from sextant_components.modelling.training import predict, repeatable
from sextant_plan.bundle import Column
from sextant_plan.ledger import LedgerWriter
from sextant_plan.schema import Plan
from sextant_plan.verdicts import Verdict

if TYPE_CHECKING:
    from sextant_components.modelling.training import Learned

ATTRIBUTIONS_TASK, ATTRIBUTIONS_FILE = "attributions", "attributions.json"
ROWS = 6  # where the plan asks for none
NOBODY = "nobody: model.attributions names no reviewer"
DIGITS = 6
MOST_NAMED = 3  # columns in a row's line


@dataclass(frozen=True)
class Attributed:
    """Rows with their answers and what each part of an input adds to them, by input: image or features."""

    rows: Examples
    answers: NDArray[np.float32]
    parts: dict[str, NDArray[np.float64]]


def attribute(learned: Learned, valid: Examples, *, rows: int) -> Attributed:
    """Return what a network's or trees' answers to so many rows rest on; the same every time."""
    from sextant_serving.architectures.gradient_boosting import Trees

    with repeatable(0):
        chosen = valid.spread(rows)
        if isinstance(learned, Trees):
            parts = {"features": columns_left_out(lambda inputs: predict(learned, inputs), chosen.inputs, valid.inputs)}
        else:
            parts = {name: integrated_gradients(learned, chosen.inputs, name=name) for name in learned.reads}
        return Attributed(chosen, predict(learned, chosen.inputs), parts)


def record_attributions(
    ledger: LedgerWriter, plan: Plan, found: Attributed, *, classes: Sequence[str], columns: Sequence[Column]
) -> None:
    """Record the attributions and who has to look at them; as long as nobody has, the record is unknown."""
    asked = plan.model.attributions
    lines = _lines(found, classes, columns)
    artifacts = {ATTRIBUTIONS_FILE: ledger.artifacts.put_json(lines)}
    if "image" in found.parts:
        titles = [f"{line['label']} as {line['answer']}" for line in lines]
        sheet = charts.contact_sheet(found.rows.inputs["image"], titles, found.parts["image"])
        artifacts["attributions.png"] = ledger.artifacts.put_bytes(sheet)
    if "features" in found.parts:
        mean = np.abs(found.parts["features"]).mean(axis=0)
        heights = dict(zip((column.name for column in columns), mean.tolist(), strict=True))
        chart = charts.bars(heights, "mean part in the answer, absolute")
        artifacts["attributions-columns.png"] = ledger.artifacts.put_bytes(chart)
    ledger.record(
        ATTRIBUTIONS_TASK,
        requirement="an expert has seen what the answers rest on, and says that it may go out",
        risk="the model is right for a reason that will not hold: a mark on the picture, a column that knows too much",
        qa_method="integrated gradients of the trained network, or for trees each column set to its median, on "
        "validation rows of every class; sextant review RUN --of attributions",
        verdict=Verdict.UNKNOWN,
        value={
            "rows": len(lines),
            "asked": asked.reviewers if asked else NOBODY,
        },
        artifacts=artifacts,
        counts=False,
    )


def _lines(found: Attributed, classes: Sequence[str], columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Return a line for each row: its label, its answer, and the columns that added or took most."""
    numeric = found.rows.numeric
    lines: list[dict[str, Any]] = []
    for place, row_id in enumerate(found.rows.row_ids):
        answer, label = found.answers[place], found.rows.labels[place]
        line: dict[str, Any] = {
            "row_id": row_id,
            "label": float(label) if numeric else classes[int(label)],
            "answer": round(float(answer[0]), DIGITS) if numeric else classes[int(answer.argmax())],
        }
        if not numeric:
            line["probability"] = round(float(answer.max()), DIGITS)
        if "features" in found.parts:
            parts = found.parts["features"][place]
            line["rests_on"] = _strongest(parts, columns)
        lines.append(line)
    return lines


def _strongest(parts: NDArray[np.float64], columns: Sequence[Column]) -> str:
    order = np.argsort(-np.abs(parts), kind="stable")[:MOST_NAMED]
    return ", ".join(f"{columns[column].name} {parts[column]:+.3g}" for column in order)
