"""One suspect row: what looks wrong, how sure that is, and what a person may want to do about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

LABEL, OUTLIER, PICTURE, TWIN = "label", "outlier", "picture", "near-duplicate"


@dataclass(frozen=True)
class Line:
    """What is written as a line of a JSONL file; a field that is None is left out."""

    def as_json(self) -> dict[str, Any]:
        """Return the line."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, order=True)
class Suspect(Line):
    """A row that a check points at: a line of suspects.jsonl.

    `score` is 0 to 1, lower being worse, comparable within one check alone.
    """

    row_id: int
    check: str
    detail: str
    score: float
    suggestion: str | None = None
