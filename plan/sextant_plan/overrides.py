"""Overrides: a person lets one criterion pass although its evidence does not, for a stated reason and time.

An override is a write-once file below the home, `overrides/{hex}.json`, named by the digest of what it says. It is
bound to the plan's hash and to the criterion's own, so that a changed plan or threshold ends it; so does its expiry.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, Field, ValidationError

from sextant_plan.canonical import canonical_json, digest_of
from sextant_plan.errors import InfrastructureError
from sextant_plan.files import write_atomically
from sextant_plan.schema import Closed

FOLDER = "overrides"


class Override(Closed):
    """The contents of an override file; both times carry their zone."""

    schema_version: Literal[1] = 1
    plan_hash: str
    criterion: str
    criterion_hash: str
    person: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    created: AwareDatetime
    expires: AwareDatetime

    def is_binding(self, plan_hash: str, at: datetime) -> bool:
        """Tell whether the override is of this very plan and has neither yet to begin nor expired at `at`."""
        return self.plan_hash == plan_hash and self.created <= at < self.expires

    @property
    def sentence(self) -> str:
        """Who overrode what, until when and why."""
        return f"overridden by {self.person} until {self.expires.isoformat(timespec='minutes')}: {self.reason}"


def write_override(home: Path, override: Override) -> Path:
    """Write an override; it is never changed afterwards."""
    content = override.model_dump(mode="json")
    path = home / FOLDER / f"{digest_of(content).removeprefix('sha256:')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        write_atomically(path, canonical_json(content))
    return path


def read_overrides(home: Path) -> list[Override]:
    """Return every override of a home, the oldest first. Raises InfrastructureError for a file that is none."""
    found = []
    for path in (home / FOLDER).glob("*.json"):
        try:
            found.append(Override.model_validate_json(path.read_bytes()))
        except ValidationError as error:
            raise InfrastructureError(f"{path}: not an override. Remove the file and write it again.") from error
    return sorted(found, key=lambda each: each.created)


def binding_overrides(overrides: Iterable[Override], plan_hash: str, at: datetime) -> dict[str, Override]:
    """Return the override in force for each criterion hash: the one that ends last."""
    binding = [each for each in overrides if each.is_binding(plan_hash, at)]
    return {each.criterion_hash: each for each in sorted(binding, key=lambda each: each.expires)}
