"""The rows that a person should look at first: suspect labels, disputed rows, and rows that would teach the most."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sextant_components.data.corrections import CORRECTION, reviewed_rows
from sextant_components.data.stored_rows import Mask, StoredRows
from sextant_components.data.suspects.labels import Judged
from sextant_components.data.suspects.suspect import Line, Suspect
from sextant_plan.ledger import LedgerWriter
from sextant_plan.schema import Plan
from sextant_plan.verdicts import Verdict

if TYPE_CHECKING:
    import polars as pl

QUEUE_TASK = "label queue"
QUEUE_FILE = "label-queue.jsonl"
MAX_QUEUE = 1000  # rows; what a few people judge in a day
UNSURE = 0.5  # the two likeliest classes are closer than this


@dataclass(frozen=True)
class Queued(Line):
    """One row to look at: its key in the source, its label, why it is asked for, and the label that is suggested."""

    row_id: int
    label: str
    reasons: list[str]
    score: float
    suggestion: str | None = None
    entity: str | None = None
    time: str | None = None
    image: str | None = None


def record_queue(
    ledger: LedgerWriter,
    plan: Plan,
    rows: StoredRows,
    judged: Judged | None,
    labels: Sequence[Suspect],
    *,
    usable: Mask,
    compared: Sequence[int],
) -> None:
    """Record the rows to look at, the most doubtful first; a row that a correction has judged is not asked for again.

    `labels` are the rows whose label is suspect, `judged` the out-of-fold probabilities of the row ids `compared`;
    rows outside the mask `usable` are passed over.
    """
    queue = label_queue(plan, _candidates(plan, rows, usable, compared), judged, labels, compared)[:MAX_QUEUE]
    text = "".join(json.dumps(row.as_json(), ensure_ascii=False) + "\n" for row in queue)
    ledger.record(
        QUEUE_TASK,
        requirement="a person's time goes to the rows whose label is in doubt, or would teach the most",
        risk="labels are checked at random while the wrong ones are known",
        qa_method="suspect labels by quality, disputed rows by the share of dissent, then rows whose two likeliest "
        f"classes differ by less than {UNSURE:g} out of fold (margin sampling); each row once, at most {MAX_QUEUE}",
        value={"rows": len(queue), "reasons": dict(Counter(reason for row in queue for reason in row.reasons))},
        verdict=Verdict.PASS,
        counts=False,
        artifacts={QUEUE_FILE: ledger.artifacts.put_bytes(text.encode())},
    )


def _candidates(plan: Plan, rows: StoredRows, usable: Mask, compared: Sequence[int]) -> pl.DataFrame:
    """Return what the queue shows of the rows that may come into it: those compared, and those raters differ on."""
    data = plan.data
    raters = data.labelling.raters if data.labelling else []
    wanted = rows.mask_of(compared)
    for batch in rows.batches(raters) if raters else ():
        wanted[list(_disputed(plan, batch))] = True
    keys = [name for name in (data.entity, data.timestamp, data.image if data.images else None) if name]
    return rows.taken(["label", *keys, CORRECTION, *raters], wanted & usable)


def label_queue(
    plan: Plan, rows: pl.DataFrame, judged: Judged | None, labels: Sequence[Suspect], compared: Sequence[int]
) -> list[Queued]:
    """Return the rows worth a person's look, each once with all its reasons, in the order described above."""
    reviewed = reviewed_rows([rows])
    suggestions = {suspect.row_id: suspect.suggestion for suspect in labels}
    doubts = [
        *(("suspect label", suspect.score, suspect.row_id) for suspect in sorted(labels, key=lambda each: each.score)),
        *sorted(("raters disagree", score, row_id) for row_id, score in _disputed(plan, rows).items()),
    ]
    if judged is not None:
        margins = _margins(judged)
        unsure = zip(margins.tolist(), compared, strict=True)
        doubts += sorted(("unsure", round(margin, 6), row_id) for margin, row_id in unsure if margin < UNSURE)
        likeliest = (judged.likeliest(index) for index in range(len(compared)))
        suggestions = {**dict(zip(compared, likeliest, strict=True)), **suggestions}
    place = {row_id: index for index, row_id in enumerate(rows["row_id"].to_list())}
    queue: dict[int, Queued] = {}
    for reason, score, row_id in doubts:
        if row_id in queue:
            queue[row_id] = replace(queue[row_id], reasons=[*queue[row_id].reasons, reason])
        elif row_id not in reviewed:
            queue[row_id] = _queued(plan, rows.row(place[row_id], named=True), reason, score, suggestions.get(row_id))
    return list(queue.values())


def _margins(judged: Judged) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return how far the likeliest class of each row lies before the second, 0 to 1."""
    best = np.sort(judged.probabilities, axis=1)
    return np.asarray(best[:, -1] - best[:, -2])


def _disputed(plan: Plan, rows: pl.DataFrame) -> dict[int, float]:
    """Return the share of the raters' labels that agree with the commonest, for each row where they differ."""
    if plan.data.labelling is None:
        return {}
    shares: dict[int, float] = {}
    ratings = rows.select(plan.data.labelling.raters).iter_rows()
    for row_id, row in zip(rows["row_id"].to_list(), ratings, strict=True):
        given = Counter(label for label in row if label is not None)
        if len(given) > 1:
            shares[row_id] = round(max(given.values()) / given.total(), 6)
    return shares


def _queued(plan: Plan, row: dict[str, Any], reason: str, score: float, suggestion: str | None) -> Queued:
    data = plan.data
    return Queued(
        row_id=row["row_id"],
        label=row["label"],
        reasons=[reason],
        score=score,
        suggestion=suggestion,
        entity=str(row[data.entity]) if data.entity else None,
        time=row[data.timestamp].isoformat() if data.entity and data.timestamp else None,
        image=row[data.image] if data.images else None,
    )
