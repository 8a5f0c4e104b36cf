"""The way back: before a version takes over, the one that it replaces is proved able to serve again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sextant_plan.bundle import read_bundle
from sextant_plan.errors import SextantError
from sextant_plan.ledger import LedgerWriter
from sextant_plan.verdicts import Verdict

if TYPE_CHECKING:
    from sextant_plan.promotion import Promotion


def record_way_back(ledger: LedgerWriter, before: Promotion) -> None:
    """Start a real server on the bundle of the promotion before, and record whether it became ready.

    It informs: a version that can no longer serve is no reason to keep serving it.
    """
    problem = _problem_of(before)
    ledger.record(
        "rollback proof",
        requirement="the version before can be put back at any time",
        risk="a bad release cannot be undone, because what it replaced is gone or no longer starts",
        qa_method="a real server on the replaced bundle: digests and golden requests until it is ready; it informs "
        "and does not judge",
        verdict=Verdict.FAIL if problem else Verdict.PASS,
        value={"version": before.version, "digest": before.digest, "problem": problem},
        counts=False,
    )


def _problem_of(before: Promotion) -> str | None:
    """Return why the bundle cannot serve, None if a server on it answers its golden requests."""
    from sextant_serving.launch import running_server

    bundle = Path(before.bundle)
    try:
        if read_bundle(bundle).digest != before.digest:
            return "the stored bundle is another one"
        with running_server(bundle=bundle, feature_repo=Path(before.feature_repo) if before.feature_repo else None):
            return None
    except (SextantError, OSError) as error:
        return type(error).__name__
