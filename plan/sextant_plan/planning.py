"""Planning reopened: the record that a plan's models fail in production faster than retraining mends them.

It names the plan's hash, so that an amended plan, which has another, is free of it.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from sextant_plan.errors import InfrastructureError
from sextant_plan.files import write_atomically
from sextant_plan.schema import Closed

FOLDER = "planning"


class Reopening(Closed):
    """Why planning is open again; `requests` are the retrainings that did not pass, `time` is Unix time."""

    schema_version: int = 1
    plan: str
    plan_hash: str
    criterion: str
    requests: list[str]
    time: float


def reopen_planning(home: Path, reopening: Reopening) -> bool:
    """Write the record unless the plan has one already; tell whether it is new."""
    path = _path(home, reopening.plan_hash)
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (reopening.model_dump_json(indent=1) + "\n").encode())
    return True


def planning_reopened(home: Path, plan_hash: str) -> Reopening | None:
    """Return the record of a plan, None if its planning is closed. Raises InfrastructureError if it is malformed."""
    path = _path(home, plan_hash)
    try:
        return Reopening.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise InfrastructureError(
            f"{path}: not a record of reopened planning. Amend the plan, or restore it."
        ) from error


def _path(home: Path, plan_hash: str) -> Path:
    return home / FOLDER / f"{plan_hash.removeprefix('sha256:')}.json"
