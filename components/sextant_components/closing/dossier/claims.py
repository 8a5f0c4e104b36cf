"""Claims and what they rest on: a sentence of the dossier cannot exist without evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sextant_plan.errors import InfrastructureError
from sextant_plan.ledger import Record
from sextant_plan.prose import placeholder_in

SHORT_DIGITS = 7


class UncitedClaim(InfrastructureError):
    """A sentence of the dossier without evidence, or with evidence that the run does not hold."""

    def __init__(self, text: str, problem: str) -> None:
        super().__init__(f"dossier: “{text}” {problem}. Nothing was written; give the claim the record it rests on.")


@dataclass(frozen=True)
class Citation:
    """A pointer into the appendix: the row's anchor, and the digest of the record or file that stands there."""

    anchor: str
    digest: str

    @property
    def short(self) -> str:
        """The digest's first digits, enough to be recognised by eye."""
        return self.digest.removeprefix("sha256:")[:SHORT_DIGITS]


Citable = Record | Citation


def cite(evidence: Citable) -> Citation:
    """Return the pointer to a record's row in the appendix; a pointer is returned as it is."""
    if isinstance(evidence, Citation):
        return evidence
    return Citation(f"r-{evidence.step}-{evidence.seq}", evidence.id)


@dataclass(frozen=True)
class Claim:
    """One statement and the evidence for it, at least one record or file.

    Raises UncitedClaim without any, and for a placeholder, which states nothing.
    """

    text: str
    evidence: Sequence[Citable]

    def __post_init__(self) -> None:
        if not self.evidence:
            raise UncitedClaim(self.text, "rests on nothing")
        if (found := placeholder_in(self.text)) is not None:
            raise UncitedClaim(self.text, f"holds the placeholder {found} and so states nothing")

    @property
    def citations(self) -> list[Citation]:
        """Where the evidence stands in the appendix, each place once."""
        return list(dict.fromkeys(map(cite, self.evidence)))
