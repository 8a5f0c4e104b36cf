"""The suspects of a snapshot: looked for, listed in suspects.jsonl, and counted against the plan's criteria."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sextant_components.data.corrections import CORRECTION, reviewed_rows
from sextant_components.data.data_rates import record_rate
from sextant_components.data.stored_rows import Mask, StoredNumbers, StoredRows
from sextant_components.data.suspects.inputs import input_matrix, thumbnails
from sextant_components.data.suspects.labels import label_suspects, out_of_fold, rows_to_judge, unjudgeable
from sextant_components.data.suspects.numbers import (
    MIN_HALF,
    SHIFTED,
    declared_numbers,
    outlier_suspects,
    shifted_columns,
)
from sextant_components.data.suspects.pictures import picture_suspects, twin_suspects, twins
from sextant_components.data.suspects.queue import record_queue
from sextant_components.data.suspects.suspect import LABEL, OUTLIER, PICTURE, TWIN, Suspect
from sextant_components.evidence.gates import Settled, unavailable
from sextant_plan.ledger import LedgerWriter
from sextant_plan.schema import Plan
from sextant_plan.verdicts import Verdict

SUSPECTS_FILE = "suspects.jsonl"
_CHECKS = {
    LABEL: ("label_issue_rate", "the label is likely an error", "confident learning over out-of-fold neighbours"),
    OUTLIER: ("outlier_rate", "a number lies far from its column", "8 robust deviations from the median"),
    PICTURE: ("picture_issue_rate", "the picture shows little", "light, contrast and sharpness of a thumbnail"),
    TWIN: ("near_duplicate_rate", "the picture nearly equals another row's", "difference hash, then grey levels"),
}


def record_suspects(ledger: LedgerWriter, plan: Plan, rows: StoredRows, usable: Mask, *, path: Path) -> dict[int, int]:
    """Look for suspects among rows that break no rule, and list them; return each near-duplicate's first row.

    `usable` is a mask of those rows, shape (rows,). Nothing is dropped: a suspect is for a person to judge, whose
    decision comes back as a correction.
    """
    row_ids = np.flatnonzero(usable)
    if not row_ids.size:
        path.write_text("", encoding="utf-8")
        return {}
    spec = plan.model.inputs.image
    pictures = thumbnails(rows.snapshot, row_ids.tolist(), spec) if spec is not None else None
    places = rows_to_judge(len(row_ids))
    compared_ids: list[int] = row_ids[places].tolist()
    compared = rows.taken(["label", *plan.model.inputs.columns], rows.mask_of(compared_ids))
    matrix = input_matrix(plan, compared, None if pictures is None else pictures[places])
    labels: list[str] = compared["label"].to_list() if plan.model.answers == "class" else []
    numbers = StoredNumbers(rows, declared_numbers(plan), usable)
    first = twins(row_ids.tolist(), pictures) if pictures is not None else {}
    reason = unjudgeable(labels, matrix)
    judged = out_of_fold(matrix, labels) if reason is None else None
    found: dict[str, list[Suspect] | Settled] = {
        LABEL: unavailable(str(reason)) if judged is None else label_suspects(compared_ids, labels, judged),
        OUTLIER: outlier_suspects(row_ids, numbers),
        PICTURE: picture_suspects(row_ids.tolist(), pictures)
        if pictures is not None
        else unavailable("there is no picture"),
        TWIN: twin_suspects(first) if pictures is not None else unavailable("there is no picture"),
    }
    found = _without_reviewed(found, reviewed_rows(rows.batches([CORRECTION])))
    listed = sorted(suspect for part in found.values() if not isinstance(part, Settled) for suspect in part)
    text = "".join(json.dumps(suspect.as_json(), ensure_ascii=False) + "\n" for suspect in listed)
    path.write_text(text, encoding="utf-8")
    artifact = {SUSPECTS_FILE: ledger.artifacts.put_bytes(text.encode())}
    for check, (metric, what, how) in _CHECKS.items():
        part = found[check]
        count = part if isinstance(part, Settled) else len({suspect.row_id for suspect in part})
        among = len(places) if check == LABEL else len(row_ids)
        drawn = f", of {among} rows drawn at random from {len(row_ids)}" if among < len(row_ids) else ""
        record_rate(ledger, plan, metric, count, rows=among, what=what, how=how + drawn, artifacts=artifact)
    suspects = [suspect for suspect in listed if suspect.check == LABEL]
    record_queue(ledger, plan, rows, judged, suspects, usable=usable, compared=compared_ids)
    if plan.data.timestamp is not None:
        _record_shift(ledger, shifted_columns(rows.column(plan.data.timestamp, usable), numbers), list(numbers))
    return first


def _without_reviewed(
    found: dict[str, list[Suspect] | Settled], reviewed: dict[int, str]
) -> dict[str, list[Suspect] | Settled]:
    """Take out what a person has judged: a row that was kept altogether, one that was relabelled as to its label."""
    return {
        check: part
        if isinstance(part, Settled)
        else [
            suspect
            for suspect in part
            if suspect.row_id not in reviewed or (reviewed[suspect.row_id] == "relabel" and check != LABEL)
        ]
        for check, part in found.items()
    }


def _record_shift(ledger: LedgerWriter, shifted: dict[str, float], columns: Sequence[str]) -> None:
    ledger.record(
        "shift over time",
        requirement="the numbers of the later rows are spread as those of the earlier ones",
        risk="a unit, a sensor or a supplier changed, and one model is taught two meanings of a column",
        qa_method=f"PSI of the later half against the earlier above {SHIFTED:g} nats, from {MIN_HALF} rows a half",
        value={"shifted": shifted, "columns": list(columns)},
        verdict=Verdict.UNKNOWN if shifted else Verdict.PASS,
        counts=False,
    )
