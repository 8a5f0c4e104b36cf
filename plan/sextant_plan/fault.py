"""A contradiction in a plan, and the remedy for a name that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass

Path_ = tuple[str | int, ...]


@dataclass(frozen=True)
class Fault:
    """A contradiction in a plan, at a path into it."""

    path: Path_
    problem: str
    remedy: str


def choose(name: str, known: Collection[str]) -> str:
    """Return the remedy for an unknown name: the one that was probably meant, else those there are."""
    return meant(name, known) or f"Choose from: {', '.join(sorted(known)) or 'none is declared'}"


def meant(name: str, known: Collection[str]) -> str | None:
    """Return the question for the known name that is closest to an unknown one, or None if none is close."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {close[0]}?" if close else None
