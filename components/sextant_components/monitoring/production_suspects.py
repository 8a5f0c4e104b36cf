"""Likely label errors and pictures that show little among production rows, by the checks of the verify step.

Labels are those that came back, judged by the answers of the version in service, which never saw them; pictures are
judged by the numbers that the prediction log keeps of them, because it keeps no picture.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

import numpy as np

from sextant_components.data.data_rates import judged_share
from sextant_components.data.suspects.labels import MIN_CLASS_ROWS, Judged, label_suspects
from sextant_components.data.suspects.pictures import measured_suspects
from sextant_components.data.suspects.suspect import Suspect
from sextant_components.evidence.gates import Settled, unavailable
from sextant_components.monitoring.logged_window import LoggedWindow
from sextant_plan.ledger import LedgerWriter
from sextant_plan.prediction_log import PICTURE_MEASURES
from sextant_plan.schema import Plan
from sextant_plan.verdicts import Verdict

SUSPECTS_FILE = "production-suspects.jsonl"


def record_label_suspects(ledger: LedgerWriter, plan: Plan, logged: LoggedWindow) -> None:
    """Record the likely errors among the labels of a window; nothing where none came back.

    A share that is proved greater than the plan's criterion for training rows lets pass fails; without a criterion it
    informs.
    """
    if logged.spec.classes and logged.labels and "probability" in logged.rows.columns:
        labels, judged, identifiers = _judged(logged)
        found: list[Suspect] | Settled = unavailable(
            f"fewer than two classes have {MIN_CLASS_ROWS} rows with an answer and a label"
        )
        if len(judged.classes) > 1:
            places = range(len(labels))
            found = label_suspects(places, labels, judged, judges="the model in service says")
        how = f"confident learning over the answers of {logged.window}, of each the most probable class"
        _record(ledger, plan, "label_issue_rate", found, identifiers, what="labels are likely errors", how=how)


def record_picture_suspects(ledger: LedgerWriter, plan: Plan, logged: LoggedWindow) -> None:
    """Record the pictures of a window that show little, judged as labels are; nothing where the log has no numbers."""
    rows = logged.rows
    if set(PICTURE_MEASURES) <= set(rows.columns):
        measures = rows.select("prediction_id", *PICTURE_MEASURES).fill_nan(None).drop_nulls()
        if measures.height:
            identifiers = measures["prediction_id"].to_list()
            pictures = measured_suspects(range(measures.height), measures.select(PICTURE_MEASURES).to_numpy().T)
            how = f"light, contrast and sharpness of a thumbnail, as the server measured them in {logged.window}"
            _record(ledger, plan, "picture_issue_rate", pictures, identifiers, what="pictures show little", how=how)


def _judged(logged: LoggedWindow) -> tuple[list[str], Judged, list[str]]:
    """Return the labels, the model's probabilities and the ids of rows that the model itself answered."""
    answered = logged.rows.drop_nulls(["label", "probability"])
    answered = answered.filter(answered["fallback"].is_null())
    rows = [
        (identifier, logged.labels[identifier], said, float(probability))
        for identifier, said, probability in answered.select("prediction_id", "label", "probability").iter_rows()
        if identifier in logged.labels
    ]
    counts = Counter(label for _, label, _, _ in rows)
    classes = sorted(name for name in logged.spec.classes if counts[name] >= MIN_CLASS_ROWS)
    rows = [row for row in rows if row[1] in classes]
    labels, answers = [row[1] for row in rows], [row[2] for row in rows]
    return labels, judged_by_answers(answers, [row[3] for row in rows], classes), [row[0] for row in rows]


def judged_by_answers(answers: Sequence[str], probabilities: Sequence[float], classes: list[str]) -> Judged:
    """Return what a model's most probable class of each row says of all classes; another class than these says nothing.

    What the answer's probability leaves is spread evenly over the other classes.
    """
    shares = np.full((len(answers), len(classes)), 1 / max(1, len(classes)))
    for place, (answer, probability) in enumerate(zip(answers, probabilities, strict=True)):
        if answer in classes:
            shares[place] = (1 - probability) / max(1, len(classes) - 1)
            shares[place, classes.index(answer)] = probability
    return Judged(shares, classes)


def _record(
    ledger: LedgerWriter,
    plan: Plan,
    metric: str,
    found: list[Suspect] | Settled,
    identifiers: Sequence[str],
    *,
    what: str,
    how: str,
) -> None:
    listed = [] if isinstance(found, Settled) else sorted(found)
    count = found if isinstance(found, Settled) else len({suspect.row_id for suspect in found})
    lines = [{**suspect.as_json(), "row_id": None, "prediction_id": identifiers[suspect.row_id]} for suspect in listed]
    text = "".join(
        json.dumps({key: value for key, value in line.items() if value is not None}) + "\n" for line in lines
    )
    for criterion, estimate, verdict in judged_share(plan, metric, count, len(identifiers)):
        limit = f"at most {criterion.limit:g} of" if criterion is not None else "it is known how many of"
        ledger.record(
            f"anomalies: {metric.removesuffix('_issue_rate')}s in production",
            requirement=f"{limit} the window's {what}",
            risk="quality is computed from wrong labels, or a camera has failed and every answer looks as sure as ever",
            qa_method=f"{how}; the check of the verify step, Clopper-Pearson bound",
            estimate=estimate,
            value=found.reason if isinstance(found, Settled) else None,
            verdict=verdict,
            counts=verdict is Verdict.FAIL,
            artifacts={SUSPECTS_FILE: ledger.artifacts.put_bytes(text.encode())} if listed else None,
        )
