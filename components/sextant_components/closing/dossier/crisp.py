"""Every task of CRISP-ML(Q) with its verdict: from its records, from the plan's excuse, or `unknown` without both."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

from sextant_components.closing.dossier.blocks import Block, Cell, Row, Section, Table, cites
from sextant_components.closing.dossier.claims import Citable, Claim
from sextant_components.closing.dossier.facts import Facts
from sextant_components.closing.dossier.wording import capital, listed, number, sentence, words
from sextant_components.runs.context import Step
from sextant_components.runs.outcome import State
from sextant_plan.ledger import Record
from sextant_plan.tasks import TASKS, Task
from sextant_plan.verdicts import Verdict, worst

COLUMNS = ("Task", "How it is assured", "Verdict", "Why", "Evidence")
NOT_APPLICABLE = "not applicable"
MOST_CITED = 6  # in one row; the appendix has the rest


@dataclass(frozen=True)
class TaskResult:
    """One task in one run. `state` is a verdict's word or "not applicable"; `evidence` is never empty."""

    task: Task
    state: str
    reason: str
    evidence: list[Citable]


@lru_cache(maxsize=1)  # three sections ask for one run's results in turn, and a run's facts do not change
def task_results(facts: Facts) -> tuple[TaskResult, ...]:
    """Return the result of every task of the catalogue, in its order."""
    return tuple(_result(facts, task) for task in TASKS)


def unclaimed(facts: Facts) -> list[Record]:
    """Return the records that are evidence for no task of the catalogue."""
    metrics = _metrics(facts)
    return [
        record
        for record in (*facts.records(*Step), *facts.later)
        if not any(task.claims(record, metrics.get(record.criterion or "")) for task in TASKS)
    ]


def _metrics(facts: Facts) -> dict[str, str]:
    plan, _ = facts.plan
    return {criterion.id: criterion.metric for criterion in plan.criteria}


def _result(facts: Facts, task: Task) -> TaskResult:
    metrics = _metrics(facts)
    records = (*facts.records(*Step), *facts.later)
    found = _last_said([r for r in records if task.claims(r, metrics.get(r.criterion or ""))])
    if found:
        verdict = worst(record.verdict for record in found)
        decisive = sorted(found, key=lambda record: record.verdict is Verdict.PASS)
        return TaskResult(task, verdict.value, _found(found), list(decisive))
    plan, source = facts.plan
    reason = task.excused(plan)
    if reason is not None:
        return TaskResult(task, NOT_APPLICABLE, f"Not applicable, because {reason}.", [source])
    return TaskResult(task, Verdict.UNKNOWN.value, _missing(facts, task), [facts.ledger])


def _last_said(records: list[Record]) -> list[Record]:
    """Leave out what a later step has answered; a criterion is held anew in service and answers nothing."""
    last = {record.task: record.step for record in records if record.criterion is None}
    return [record for record in records if record.criterion is not None or last[record.task] == record.step]


def _found(records: list[Record]) -> str:
    bad = [record for record in records if record.verdict is not Verdict.PASS]
    if not bad:
        return f"{number(len(records))} {'check passes' if len(records) == 1 else 'checks pass'}."
    named = list(dict.fromkeys(f"“{record.task}” {_verb(record)}" for record in bad))
    return f"{capital(listed(named))}; {number(len(records) - len(bad))} of {number(len(records))} checks pass."


def _verb(record: Record) -> str:
    return "fails" if record.verdict is Verdict.FAIL else "is not decided"


def _missing(facts: Facts, task: Task) -> str:
    absent = [s for s in task.steps if facts.outcome.steps[Step(s)].state is not State.FINISHED]
    if absent:
        return f"No evidence: {listed([words(step) for step in absent])} did not come to an end."
    return "No record of this run is evidence for it."


def crisp_section(facts: Facts) -> Section:
    """Return the section with one table for each phase."""
    results = task_results(facts)
    blocks: list[Block] = [
        _table(phase, list(members), facts) for phase, members in groupby(results, key=lambda result: result.task.phase)
    ]
    rest = unclaimed(facts)
    if rest:
        blocks.append(_others(rest))
    return Section("tasks", "Tasks of CRISP-ML(Q)", blocks, _lead(facts, results))


def _lead(facts: Facts, results: Iterable[TaskResult]) -> Claim:
    states = [result.state for result in results]
    counts = [f"{number(states.count(state))} {state}" for state in dict.fromkeys((*map(str, Verdict), NOT_APPLICABLE))]
    return Claim(f"The process model has {number(len(states))} tasks; in this run {listed(counts)}.", [facts.ledger])


def _table(phase: str, results: list[TaskResult], facts: Facts) -> Table:
    return Table(
        caption=Claim(f"{capital(phase)}: each task with what it guards against and how it went.", [facts.ledger]),
        columns=COLUMNS,
        rows=[_row(result) for result in results],
        title=capital(phase),
        look="tasks",
    )


def _row(result: TaskResult) -> Row:
    task = result.task
    cited = cites(*result.evidence[:MOST_CITED])
    more = len(result.evidence) - MOST_CITED
    return Row(
        [
            Cell(task.name, "head", note=sentence(task.requirement)),
            Cell(sentence(task.method), note=f"Else {task.risk}."),
            Cell(result.state, "verdict"),
            Cell(result.reason),
            Cell(kind="cites", cites=cited.cites, note=f"and {number(more)} more" if more > 0 else ""),
        ],
        anchor=f"t-{task.id}",
    )


def _others(records: list[Record]) -> Table:
    return Table(
        caption=Claim("Checks that belong to no task of the catalogue.", list(records)),
        columns=("Check", "Verdict", "Evidence"),
        rows=[Row([Cell(capital(r.task), "head"), Cell(r.verdict.value, "verdict"), cites(r)]) for r in records],
        title="Other checks",
    )
