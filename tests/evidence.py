"""What two runs of one plan have in common: evidence by its ids, and what is each run's own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from sextant_plan.canonical import digest_of, digest_of_file
from sextant_plan.ledger import Record

# Measured by the clock; their numbers differ from run to run on one machine too.
MEASURED = (
    "plan/feasibility: load pre-test",
    "optimise/engine latency*",
    "optimise/ensemble latency*",
    "train/training time*",
    "evaluate/criterion latency",
    "evaluate/cold start",
    "evaluate/request latency",
    "decide/decision latency",
    "watch/live traffic",
    "watch/presence",
    "watch/retrain *",
    "watch/alert *",
)
# A bundle says when it was made, so that its digest names one making; everything else in it is compared file by file.
DATED = (
    "optimise/bundle",
    "evaluate/bundle under test",
    "decide/bundle decided on",
    "register/model version",
    "roll_out/promotion",
)


# The files that say when they were made, and where.
DATES = {"snapshot.json": "created", "croissant.json": "datePublished", "bundle.json": "created"}


def undated_digest(path: Path) -> str:
    """Return a file's digest, of a dated one that of what it says besides its date."""
    if path.name not in DATES:
        return digest_of_file(path)
    content = json.loads(path.read_bytes())
    return digest_of({name: value for name, value in content.items() if name != DATES[path.name]})


def key(record: Record) -> str:
    """Return what a record is about."""
    return f"{record.step}/{record.task}"


def differences(first: Sequence[Record], second: Sequence[Record], own: Iterable[str]) -> list[str]:
    """Say in which records two attempts of a step differ; those that match a pattern of `own` may, but in verdicts."""
    if [key(record) for record in first] != [key(record) for record in second]:
        return [f"records {[key(record) for record in first]} and {[key(record) for record in second]}"]
    return [
        f"{key(one)}: {one.verdict} {one.value} and {other.verdict} {other.value}"
        for one, other in zip(first, second, strict=True)
        if one.verdict is not other.verdict
        or (one.id != other.id and not any(fnmatchcase(key(one), pattern) for pattern in own))
    ]
