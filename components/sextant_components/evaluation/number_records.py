"""What an evaluation records of answers that are numbers, besides the criteria."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sextant_components.evaluation.evaluation_records import CONFIDENCE, ERRORS_FILE, LARGEST_TASK, MOST_ERRORS, inform
from sextant_components.evidence import charts, number_metrics
from sextant_components.evidence.number_metrics import NumberAnswers
from sextant_components.modelling.tensors import Examples
from sextant_plan.ledger import LedgerWriter

TENTHS = 10


def record_residuals(
    ledger: LedgerWriter, answers: NumberAnswers, examples: Examples, slices: Mapping[str, list[str]]
) -> None:
    """Record answers against labels, the error by the label's size, by slice, and the rows that are furthest off."""
    points = [{"label": float(y), "value": float(x)} for x, y in zip(answers.values, answers.labels, strict=True)]
    inform(
        ledger,
        "answers and labels",
        requirement="it is known where on the label's range the model errs",
        risk="small numbers are answered well and large ones never",
        artifacts={
            "residuals.json": ledger.artifacts.put_json({"points": points, "by_size": _by_size(answers)}),
            "residuals.png": ledger.artifacts.put_bytes(charts.scatter(answers.labels, answers.values)),
        },
    )
    inform(
        ledger,
        "slices",
        requirement="it is known for whom the model works less well",
        risk="an average hides a group that is served badly",
        artifacts={"slice_errors.json": ledger.artifacts.put_json(_by_slice(answers, slices))},
    )
    worst = np.argsort(-np.abs(answers.errors), kind="stable")[:MOST_ERRORS]
    rows = [
        {"row_id": examples.row_ids[row], "label": float(answers.labels[row]), "predicted": float(answers.values[row])}
        for row in worst
    ]
    inform(
        ledger,
        LARGEST_TASK,
        requirement="an expert can look at what goes most wrong",
        risk="wrong labels and blind spots stay unseen",
        artifacts={ERRORS_FILE: ledger.artifacts.put_json(rows)},
        value=f"the largest of {len(answers.labels)} rows is off by {np.abs(answers.errors).max():.4g}",
    )


def _by_slice(answers: NumberAnswers, slices: Mapping[str, list[str]]) -> list[dict[str, Any]]:
    table = []
    for column, values in slices.items():
        for value in sorted(set(values)):
            rows = np.asarray([found == value for found in values], dtype=np.bool_)
            table.append({"slice": f"{column}={value}", **_described(answers.take(rows))})
    return table


def _by_size(answers: NumberAnswers) -> list[dict[str, Any]]:
    """Return the error of each tenth of the rows by their label, which shows a model that shrinks to the mean."""
    parts = np.array_split(np.argsort(answers.labels, kind="stable"), min(TENTHS, len(answers.labels)))
    return [
        {
            "from": float(answers.labels[part].min()),
            "to": float(answers.labels[part].max()),
            "bias": float(answers.errors[part].mean()),
            "mae": float(np.abs(answers.errors[part]).mean()),
        }
        for part in parts
    ]


def _described(answers: NumberAnswers) -> dict[str, Any]:
    """Return a slice's mean absolute error; one row has no bounds."""
    found = number_metrics.mae(answers, CONFIDENCE)
    bounds = {"low": found.low, "high": found.high} if found.n > 1 else {"low": None, "high": None}
    return {"n": found.n, "value": found.value, **bounds}
