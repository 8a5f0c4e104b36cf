"""What a section is made of: lists of claims, tables, pictures and heat tables, each resting on evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from sextant_components.closing.dossier.claims import Citable, Citation, Claim, cite
from sextant_components.closing.dossier.plots import Plot
from sextant_components.closing.dossier.strips import Strip

CellKind = Literal["text", "number", "verdict", "code", "cites", "strip", "head"]


@dataclass(frozen=True)
class Cell:
    """One cell of a table; `note` is a smaller second line."""

    text: str = ""
    kind: CellKind = "text"
    note: str = ""
    cites: tuple[Citation, ...] = ()
    strip: Strip | None = None


def cites(*evidence: Citable) -> Cell:
    """Return the cell that holds a row's evidence."""
    return Cell(kind="cites", cites=tuple(dict.fromkeys(map(cite, evidence))))


@dataclass(frozen=True)
class Row:
    """One row of a table; `anchor` makes it the target of citations."""

    cells: Sequence[Cell]
    anchor: str = ""


@dataclass(frozen=True)
class Claims:
    """Statements, as a list."""

    claims: Sequence[Claim]
    title: str = ""
    kind: Literal["claims"] = "claims"


@dataclass(frozen=True)
class Table:
    """A table whose caption cites what all of it rests on; rows may cite more. `look` names its column widths."""

    caption: Claim
    columns: Sequence[str]
    rows: Sequence[Row]
    title: str = ""
    look: Literal["plain", "checks", "pairs", "tasks", "score"] = "plain"
    kind: Literal["table"] = "table"


@dataclass(frozen=True)
class Figure:
    """A picture as a data URI."""

    caption: Claim
    uri: str
    alt: str
    title: str = ""
    kind: Literal["figure"] = "figure"


@dataclass(frozen=True)
class Drawing:
    """A plot as inline SVG; the caption says in words what it shows."""

    caption: Claim
    plot: Plot
    title: str = ""
    kind: Literal["drawing"] = "drawing"


@dataclass(frozen=True)
class Heat:
    """A square table of counts; `levels` are the shades, 0 to 9, of the same shape as `counts`."""

    caption: Claim
    classes: Sequence[str]
    counts: Sequence[Sequence[int]]
    levels: Sequence[Sequence[int]]
    title: str = ""
    kind: Literal["heat"] = "heat"


Block = Claims | Table | Figure | Drawing | Heat


@dataclass(frozen=True)
class Section:
    """One heading of the dossier with its blocks; `lead` is the sentence below the heading."""

    anchor: str
    title: str
    blocks: Sequence[Block] = field(default_factory=list)
    lead: Claim | None = None
