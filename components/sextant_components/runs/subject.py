"""Which bundle the records of a run are about."""

from __future__ import annotations

from collections.abc import Iterable

from sextant_plan.ledger import Record

SUBJECT_TASK = "bundle under test"
DECISION_TASK = "bundle decided on"


def subject_digest(records: Iterable[Record]) -> str | None:
    """Return the digest of the bundle that records say they are about; None if they do not say."""
    digests = [
        record.value.get("digest")
        for record in records
        if record.task in {SUBJECT_TASK, DECISION_TASK} and isinstance(record.value, dict)
    ]
    return digests[-1] if digests and isinstance(digests[-1], str) else None
