"""A step's records as a table of checks, and the sentence for a step that did not come to its end."""

from __future__ import annotations

from collections.abc import Sequence

from sextant_components.closing.dossier.blocks import Cell, Claims, Row, Table, cites
from sextant_components.closing.dossier.claims import Claim
from sextant_components.closing.dossier.facts import Facts
from sextant_components.closing.dossier.wording import capital, closed, finding, number, sentence, title, words
from sextant_components.runs.context import Step
from sextant_components.runs.outcome import State
from sextant_plan.ledger import Record

COLUMNS = ("Check", "Found", "How it was checked", "Verdict", "Evidence")


def checks(facts: Facts, *steps: Step) -> list[Claims | Table]:
    """Return, step by step, its table of checks or the reason why there is none."""
    blocks: list[Claims | Table] = []
    for step in steps:
        shortfall = incomplete(facts, step)
        if shortfall is not None:
            blocks.append(Claims([shortfall]))
        table = _table(facts, step)
        if table is not None:
            blocks.append(table)
    return blocks


def _table(facts: Facts, step: Step) -> Table | None:
    records = facts.records(step)
    if not records:
        return None
    closing = facts.closing(step)
    end = f"the step ended with {closing.verdict.value}" if closing is not None else "the step did not end"
    return checks_table(records, Claim(f"{title(step.value)}: {count_of(records)}; {end}.", [closing or records[-1]]))


def count_of(records: Sequence[Record]) -> str:
    """Return how many checks these are, in words."""
    return f"{number(len(records))} {'check' if len(records) == 1 else 'checks'}"


def checks_table(records: Sequence[Record], caption: Claim) -> Table:
    """Return a table of records with what each found."""
    return Table(
        caption=caption,
        columns=COLUMNS,
        rows=[
            Row(
                [
                    Cell(capital(record.task), "head", note=sentence(record.requirement)),
                    Cell(finding(record)),
                    Cell(sentence(record.qa_method)),
                    Cell(record.verdict.value, "verdict"),
                    cites(record),
                ]
            )
            for record in records
        ],
        look="checks",
    )


def incomplete(facts: Facts, step: Step) -> Claim | None:
    """Say how far a step came that did not end; None for one that did."""
    found = facts.outcome.steps[step]
    name = words(step.value)
    if found.state is State.NOT_REACHED:
        return Claim(f"The step {name} was not reached; this run holds no evidence of it.", [facts.ledger])
    if found.state is State.CORRUPT:
        assert found.file is not None
        return Claim(
            f"The evidence of the step {name} cannot be trusted and is left out: {closed(found.problem or '')}",
            [facts.file(found.file)],
        )
    if found.state is State.UNFINISHED:
        assert found.file is not None
        last = f" Its last record is “{found.records[-1].task}”." if found.records else " It recorded nothing."
        error = facts.outcome.error
        if error is not None and error.step == step.value:
            return Claim(
                f"The step {name} stopped with an error: {closed(error.message)}{last}",
                [facts.file("error.json"), facts.file(found.file)],
            )
        return Claim(f"The step {name} began and did not come to its end.{last}", [facts.file(found.file)])
    return None
