"""The appendix: every record and file that the run holds, each the target of the citations above."""

from __future__ import annotations

from dataclasses import dataclass

from sextant_components.closing.dossier.blocks import Cell, Row
from sextant_components.closing.dossier.claims import cite
from sextant_components.closing.dossier.facts import Facts
from sextant_components.closing.dossier.wording import capital, finding, number, sentence, title, words
from sextant_components.runs.context import Step
from sextant_plan.ledger import Record
from sextant_plan.moments import moment

RECORD_COLUMNS = ("Check", "Requirement", "Risk", "Method", "Evidence", "Verdict", "Identity")
FILE_COLUMNS = ("File", "SHA-256")


@dataclass(frozen=True)
class Group:
    """One step's records, or the files, behind one fold."""

    title: str
    columns: tuple[str, ...]
    rows: list[Row]
    look: str = "records"

    @property
    def count(self) -> str:
        """How many rows the fold hides."""
        return number(len(self.rows))


def groups(facts: Facts) -> list[Group]:
    """Return the folds of the appendix; every anchor that a citation can point to is in one of them."""
    found = [
        Group(title(step.value), RECORD_COLUMNS, [_record(record) for record in facts.outcome.steps[step].records])
        for step in Step
        if facts.outcome.steps[step].records
    ]
    if facts.later:
        found.append(Group("After the run", RECORD_COLUMNS, [_record(record) for record in facts.later]))
    return [*found, Group("Files of the run", FILE_COLUMNS, _files(facts), "pairs")]


def _record(record: Record) -> Row:
    artifacts = "; ".join(f"{name} {digest[:19]}…" for name, digest in sorted(record.artifacts.items()))
    criterion = f"criterion {record.criterion}" if record.criterion else ""
    return Row(
        [
            Cell(capital(record.task), "head", note=criterion),
            Cell(sentence(record.requirement)),
            Cell(sentence(record.risk)),
            Cell(sentence(record.qa_method)),
            Cell(finding(record), note=artifacts),
            Cell(record.verdict.value, "verdict"),
            Cell(record.id, "code", note=f"{words(record.step)} {record.attempt}.{record.seq}, {moment(record.time)}"),
        ],
        anchor=cite(record).anchor,
    )


def _files(facts: Facts) -> list[Row]:
    rows = [
        Row([Cell(name, "head"), Cell(digest, "code")], anchor=facts.file(name).anchor)
        for name, digest in facts.outcome.files.items()
    ]
    whole = facts.ledger
    note = "digest of the canonical JSON of its files' digests, as in conclusion.json"
    rows.append(Row([Cell("The ledger as a whole", "head", note=note), Cell(whole.digest, "code")], whole.anchor))
    return rows
