"""The ML Test Score of a run (Breck et al. 2017), computed from its records: points by test, section and in all."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, get_args

from sextant_components.closing.dossier.blocks import Block, Cell, Row, Section, Table, cites
from sextant_components.closing.dossier.claims import Citable, Claim, cite
from sextant_components.closing.dossier.facts import Facts
from sextant_components.closing.dossier.score_tests import SCORE_TESTS, Groups, ScoreSection, ScoreTest
from sextant_components.closing.dossier.wording import capital, listed, number
from sextant_components.evaluation.criteria import beats_baseline
from sextant_components.runs.context import Step
from sextant_plan.ledger import Record
from sextant_plan.schema import Plan
from sextant_plan.verdicts import Verdict

Named = tuple[Record, list[str]]  # a record and what a test may call it

FULL, HALF = 1.0, 0.5
MOST_CITED = 6
SECTIONS: tuple[ScoreSection, ...] = get_args(ScoreSection)
# What a total says of a system, by the paper's table: the first whose limit is not below the total.
MEANINGS = (
    (0.0, "closer to a research project than to a system in service"),
    (1.0, "not untested, but serious holes are likely"),
    (2.0, "a first pass is made; more is worth its effort"),
    (3.0, "reasonably tested; more of it can be automated"),
    (5.0, "well tested and watched, fit for what matters"),
    (7.0, "exceptionally well tested and watched"),
)


@dataclass(frozen=True)
class Scored:
    """One test's points with the reason and what they rest on; `evidence` is never empty."""

    test: ScoreTest
    points: float
    reason: str
    evidence: list[Citable]


@dataclass(frozen=True)
class Score:
    """Every test's points; the total is the least of the sections' sums, because no section makes up for another."""

    tests: list[Scored]

    @property
    def sections(self) -> dict[ScoreSection, float]:
        """The sum of each section, 0 to 7."""
        return {name: sum(each.points for each in self.tests if each.test.section == name) for name in SECTIONS}

    @property
    def total(self) -> float:
        """The score, 0 to 7."""
        return min(self.sections.values())

    @property
    def meaning(self) -> str:
        """What the total says of the system."""
        return next(text for limit, text in MEANINGS if self.total <= limit)

    def as_json(self) -> dict[str, Any]:
        """Return the score as JSON values; evidence by digest."""
        return {
            "total": self.total,
            "meaning": self.meaning,
            "sections": self.sections,
            "tests": [
                {
                    "id": each.test.id,
                    "question": each.test.question,
                    "points": each.points,
                    "reason": each.reason,
                    "evidence": [cite(item).digest for item in each.evidence],
                }
                for each in self.tests
            ],
        }


def compute_score(facts: Facts) -> Score:
    """Return the score of a run from its ledger and its frozen plan alone."""
    plan, source = facts.plan
    named = _named(facts)
    return Score([score_test(test, named, plan, plan_file=source, ledger=facts.ledger) for test in SCORE_TESTS])


def _named(facts: Facts) -> list[Named]:
    plan, _ = facts.plan
    criteria = {criterion.id: criterion for criterion in plan.criteria}
    named = []
    for record in facts.records(*Step) + [end for step in Step if (end := facts.closing(step)) is not None]:
        names, criterion = [f"{record.step}/{record.task}"], criteria.get(record.criterion or "")
        if criterion is not None:
            names.append(f"{record.step}/metric:{criterion.metric}")
            names += [f"{record.step}/sliced:{criterion.metric}"] if criterion.slice else []
            names += [f"{record.step}/beats baseline"] if beats_baseline(criterion) else []
        named.append((record, names))
    return named


def score_test(test: ScoreTest, records: list[Named], plan: Plan, *, plan_file: Citable, ledger: Citable) -> Scored:
    """Return one test's points: 1 on passing records for all it asks, a half on part of them or on the plan, else 0.

    `plan_file` and `ledger` are cited where the plan answers, and where no record does.
    """
    full = _answers(test.automated, records)
    if full is not None and _all_pass(full):
        return Scored(test, FULL, "Checked by this run, and passed.", list(full))
    bad = [record for record in full or [] if record.verdict is not Verdict.PASS]
    partly = _answers(test.partial, records) if test.partial else None
    if partly is not None and _all_pass(partly):
        return Scored(test, HALF, _because("Checked in part", bad), list(partly))
    if test.documented(plan):
        return Scored(test, HALF, _because("Stated in the plan, not checked by this run", bad), [plan_file])
    return Scored(test, 0.0, _because("Not shown by this run", bad), list(bad) or [ledger])


def _because(text: str, bad: list[Record]) -> str:
    if not bad:
        return f"{text}."
    return f"{text}: {listed([f'“{record.task}” is {record.verdict.value}' for record in bad])}."


def _answers(groups: Groups, records: list[Named]) -> list[Record] | None:
    """Return the records that answer the groups, each once; None if a group has none."""
    found: dict[str, Record] = {}
    for group in groups:
        own = [r for r, called in records if any(fnmatchcase(name, p) for name in called for p in group)]
        if not own:
            return None
        found |= {f"{record.step}/{record.seq}": record for record in own}
    return list(found.values())


def _all_pass(records: list[Record]) -> bool:
    return all(record.verdict is Verdict.PASS for record in records)


def score_section(facts: Facts) -> Section:
    """Return the section with the sums and one table for each part of the score."""
    score = compute_score(facts)
    sums = listed([f"{name} {number(points)}" for name, points in score.sections.items()])
    lead = Claim(
        f"ML Test Score {number(score.total)} of 7: {score.meaning}. It is the least of four sums: {sums}.",
        [facts.ledger],
    )
    blocks: list[Block] = [
        Table(
            caption=Claim(f"{capital(name)}: {number(points)} of 7 points.", [facts.ledger]),
            columns=("Test", "Points", "Why", "Evidence"),
            rows=[_row(each) for each in score.tests if each.test.section == name],
            title=capital(name),
            look="score",
        )
        for name, points in score.sections.items()
    ]
    return Section("score", "ML Test Score", blocks, lead)


def _row(each: Scored) -> Row:
    more = len(each.evidence) - MOST_CITED
    return Row(
        [
            Cell(each.test.question, "head"),
            Cell(number(each.points), "number"),
            Cell(each.reason),
            Cell(
                kind="cites",
                cites=cites(*each.evidence[:MOST_CITED]).cites,
                note=f"and {number(more)} more" if more > 0 else "",
            ),
        ]
    )
