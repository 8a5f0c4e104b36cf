"""The look budget: how often the sealed rows may be opened before they are no longer a test.

Each look is a write-once parameter of an MLflow ledger for the sealed rows and the plan's name, so a look cannot
be taken back, also not by another process. The same model looks once, however often it is built again: what it answers
is known, so nothing new can be learned from the rows.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sextant_plan.errors import UsageError


class LooksSpent(UsageError):
    """The sealed rows have been opened as often as the plan allows."""

    def __init__(self, name: str, looks: int) -> None:
        super().__init__(
            f"{name}: all {looks} looks at the sealed rows are spent (evaluation.looks). Collect new data, so that "
            "new rows are sealed, or amend the plan with a larger budget and the reason for it."
        )


@dataclass(frozen=True)
class Look:
    """One look: its number from 1, and the budget."""

    number: int
    budget: int


def take_look(home: Path, *, plan: str, sealed_digest: str, budget: int, version: str) -> Look:
    """Take the next look, or the one that this model took before. Raises LooksSpent.

    `version` is the bundle's: a digest of the weights, the plan and the data.
    """
    from sextant_serving.mlflow_store import connect

    ledger = connect(home.resolve()).ledger(_ledger_name(plan, sealed_digest))
    taken = ledger.read()
    for number in range(1, budget + 1):
        if taken.get(f"look-{number}") == version:
            return Look(number, budget)
    for number in range(1, budget + 1):
        if f"look-{number}" not in taken and ledger.write(f"look-{number}", version):
            return Look(number, budget)
    raise LooksSpent(plan, budget)


def looks_taken(home: Path, *, plan: str, sealed_digest: str) -> dict[str, str] | None:
    """Return the version that took each look, by `look-N`; None where nobody counted looks at these rows.

    Nothing is created, so that an absent count is not taken for a count of none.
    """
    from sextant_serving.mlflow_store import DATABASE_FILE, LEDGERS, connect

    if "MLFLOW_TRACKING_URI" not in os.environ and not (home / DATABASE_FILE).exists():
        return None
    store, name = connect(home.resolve()), _ledger_name(plan, sealed_digest)
    if store.client.get_experiment_by_name(f"{LEDGERS}/{name}") is None:
        return None
    return store.ledger(name).read()


def _ledger_name(plan: str, sealed_digest: str) -> str:
    return f"looks/{plan}/{sealed_digest.removeprefix('sha256:')}"
