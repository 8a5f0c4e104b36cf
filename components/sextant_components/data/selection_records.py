"""The measured gains of columns, suspect training rows and noise reduction, on record; rows are left out by them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sextant_components.data.selection import Gain, Matrix, column_gains, of_each, right_on, row_gains, sampled
from sextant_components.data.suspects.inputs import thumbnails
from sextant_components.data.suspects.recording import SUSPECTS_FILE
from sextant_components.data.tables import feature_matrix
from sextant_components.evidence.metrics import paired_gain
from sextant_plan.bundle import Column
from sextant_plan.ledger import LedgerWriter
from sextant_plan.schema import ImageInput, Plan
from sextant_plan.verdicts import Verdict

if TYPE_CHECKING:
    import polars as pl

METHOD = "30 trees that are not the model to be served; Tango's paired interval, at 0.95 for all together"


def record_column_gains(ledger: LedgerWriter, train: pl.DataFrame, columns: Sequence[Column]) -> None:
    """Record what each column adds to the training rows' accuracy beside all others; the plan decides what is read."""
    place = sampled(train.height)
    matrix, codes = feature_matrix(train, columns)[place], train["label_index"].to_numpy().astype(np.int64)[place]
    names = [column.name for column in columns]
    categories = [index for index, column in enumerate(columns) if column.vocabulary is not None]
    gains = column_gains(matrix, codes, names, categories)
    ledger.record(
        "selection of columns",
        requirement="it is known what each column that the model reads is worth",
        risk="a column is collected, stored and explained that changes no answer, or that harms",
        qa_method=f"accuracy out of five folds of {len(place)} training rows, with all columns and without each; "
        f"{METHOD}",
        value={
            "gains": {name: gain.as_json() for name, gain in gains.items()},
            "not_earned": sorted(name for name, gain in gains.items() if not gain.earned),
        },
        verdict=Verdict.PASS,
        counts=False,
    )


def harmful_rows(
    ledger: LedgerWriter,
    plan: Plan,
    *,
    verified: Path,
    snapshot: Path,
    train: pl.DataFrame,
    valid: pl.DataFrame,
    columns: Sequence[Column],
) -> set[int]:
    """Record what each kind of suspect row adds to training; return the rows of kinds that are proved to harm.

    They are left out of the training rows alone, and only where `data.selection.rows` says `apply`.
    """
    suspects = _suspects(verified)
    train_place, valid_place = sampled(train.height), sampled(valid.height)
    matrices = _matrices(plan, snapshot, [train[train_place], valid[valid_place]], columns)
    codes = [part["label_index"].to_numpy().astype(np.int64) for part in (train[train_place], valid[valid_place])]
    row_ids = train["row_id"].to_numpy()
    masks = {kind: np.isin(row_ids[train_place], sorted(rows)) for kind, rows in suspects.items()}
    gains = row_gains(matrices[0], codes[0], masks, test=(matrices[1], codes[1]))
    harming = [kind for kind, gain in gains.items() if gain.earned is False]
    left_out: set[int] = set()
    if plan.data.selection.rows == "apply":
        left_out = {row for kind in harming for row in suspects[kind]} & set(row_ids.tolist())
    listed = {row: [kind for kind in harming if row in suspects[kind]] for row in sorted(left_out)}
    ledger.record(
        "selection of rows",
        requirement="a training row that is left out is one of a kind that is proved to harm, and is named",
        risk="wrong rows are learned from, or right ones thrown away on suspicion",
        qa_method=f"accuracy on validation rows after fitting with all training rows and without each kind; {METHOD}",
        value={
            "gains": {kind: gain.as_json() for kind, gain in gains.items()},
            "harming": harming,
            "left_out": len(left_out),
        },
        verdict=Verdict.PASS,
        counts=False,
        artifacts={"left_out.json": ledger.artifacts.put_json(listed)},
    )
    return left_out


def record_noise_gain(
    ledger: LedgerWriter, snapshot: Path, train: pl.DataFrame, valid: pl.DataFrame, spec: ImageInput
) -> None:
    """Record what the plan's noise reduction of pictures changes for validation rows."""
    plain = spec.model_copy(update={"denoise": "none"})
    parts = [part[sampled(part.height)] for part in (train, valid)]
    codes = [part["label_index"].to_numpy().astype(np.int64) for part in parts]
    right = []
    for own in (spec, plain):
        matrices = [_pixels(snapshot, part, own) for part in parts]
        right.append(right_on(matrices[0], codes[0], test=(matrices[1], codes[1])))
    gain = Gain(paired_gain(right[0], right[1], of_each(1)), len(codes[1]))
    ledger.record(
        "noise reduction",
        requirement="it is known what the noise reduction that every request pays for is worth",
        risk="detail is smoothed away that tells the classes apart",
        qa_method=f"accuracy on thumbnails of validation rows with {spec.denoise} and without it; {METHOD}",
        value=gain.as_json(),
        verdict=Verdict.UNKNOWN if gain.earned is False else Verdict.PASS,
        counts=False,
    )


def _suspects(verified: Path) -> dict[str, set[int]]:
    """Return the rows that verification pointed at, by the check that did."""
    found: dict[str, set[int]] = {}
    for line in (verified / SUSPECTS_FILE).read_text(encoding="utf-8").splitlines():
        suspect = json.loads(line)
        found.setdefault(suspect["check"], set()).add(suspect["row_id"])
    return dict(sorted(found.items()))


def _matrices(plan: Plan, snapshot: Path, parts: Sequence[pl.DataFrame], columns: Sequence[Column]) -> list[Matrix]:
    """Return what the model reads of each part's rows, pictures as thumbnails, shape (rows, width)."""
    spec = plan.model.inputs.image
    tables = [feature_matrix(part, columns) for part in parts]
    if spec is None:
        return tables
    return [np.hstack([table, _pixels(snapshot, part, spec)]) for table, part in zip(tables, parts, strict=True)]


def _pixels(snapshot: Path, part: pl.DataFrame, spec: ImageInput) -> Matrix:
    found = thumbnails(snapshot, part["row_id"].to_list(), spec)
    return found.reshape(len(found), -1).astype(np.float32)
