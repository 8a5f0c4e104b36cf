"""Rehearsed failures: which of a plan's failure modes a drill stages, what it proved, and how long that counts.

A drill writes a ledger of its own, `drills/{id}/ledger/drill-1.jsonl` in the home; its record of the task `drill` holds
an Outcome. A release carries the lines of those that its plan asks for, so that whoever admits it can check them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from sextant_plan.errors import LedgerCorrupt
from sextant_plan.ledger import Record, finished, read_attempt, verify_lines
from sextant_plan.schema import Closed, FailureMode, Plan
from sextant_plan.types import DAY, DrillName
from sextant_plan.verdicts import Verdict
from sextant_plan.window import promql_duration

FOLDER, STEP, TASK = "drills", "drill", "drill"


class Outcome(Closed):
    """What a drill measured, in seconds from the fault; None for what never came.

    `recover_within` is the plan's bound, None where no failure mode of it names this drill. `requests` were sent while
    the drill lasted and `failed` of them got a 5xx code or no answer. `facts` are what else was found.
    """

    drill: DrillName
    plan: str
    profile: str
    modes: list[str]
    fault: str
    detected_by: str
    detected_after: float | None
    recovery: str
    recovered_after: float | None
    recover_within: float | None
    requests: int = 0
    failed: int = 0
    facts: dict[str, float | int | str] = {}

    @property
    def verdict(self) -> Verdict:
        """`pass` if it was noticed and over within the plan's time."""
        if self.detected_after is None or self.recovered_after is None:
            return Verdict.FAIL
        late = self.recover_within is not None and self.recovered_after > self.recover_within
        return Verdict.FAIL if late else Verdict.PASS


@dataclass(frozen=True)
class Conducted:
    """One drill that was carried out: its outcome, verdict, end as Unix time, and the lines that prove it."""

    outcome: Outcome
    verdict: Verdict
    time: float
    lines: tuple[str, ...]


def drill_of(mode: FailureMode) -> DrillName | None:
    """Return the drill that rehearses a failure mode: the one it names, or the one of its own name; None for none."""
    if mode.drill is not None:
        return mode.drill
    return DrillName(mode.mode) if mode.mode in {name.value for name in DrillName} else None


def modes_of(plan: Plan, drill: DrillName) -> list[FailureMode]:
    """Return the plan's failure modes that a drill rehearses."""
    return [mode for mode in plan.failure if drill_of(mode) is drill]


def wanted_drills(plan: Plan) -> list[DrillName]:
    """Return the drills that a promotion asks for, in the order of their definition; none without `drills`."""
    if plan.drills is None:
        return []
    asked = {drill_of(mode) for mode in plan.failure} | set(plan.drills.also)
    return [name for name in DrillName if name in asked]


def read_conducted(lines: Sequence[str], where: str) -> Conducted:
    """Return the drill whose ledger has these lines. Raises LedgerCorrupt if they are not what a drill wrote."""
    return _conducted(verify_lines((line.encode() for line in lines), where), lines, where)


def last_drills(home: Path, plan: str) -> dict[DrillName, Conducted]:
    """Return the last finished drill of each name that was held for a plan. Raises LedgerCorrupt."""
    found: dict[DrillName, Conducted] = {}
    for path in sorted((home / FOLDER).glob(f"*/ledger/{STEP}-*.jsonl")):
        records = read_attempt(path)
        if not finished(records):
            continue  # a drill that was killed proved nothing
        conducted = _conducted(records, path.read_text(encoding="utf-8").splitlines(), str(path))
        name = conducted.outcome.drill
        if conducted.outcome.plan == plan and (name not in found or found[name].time < conducted.time):
            found[name] = conducted
    return found


def drill_objections(plan: Plan, drills: Iterable[Conducted], *, first: bool, now: float) -> list[tuple[Verdict, str]]:
    """Return what stands against a promotion at Unix time `now`; `first` tells whether no version is in service yet."""
    policy = plan.drills
    if policy is None or (first and policy.grace_first_release):
        return []
    known = {each.outcome.drill: each for each in drills if each.outcome.plan == plan.name}
    return [
        problem
        for name in wanted_drills(plan)
        if (problem := _against(name, known.get(name), policy.max_age, now)) is not None
    ]


def _against(name: DrillName, last: Conducted | None, max_age: float, now: float) -> tuple[Verdict, str] | None:
    if last is None:
        return Verdict.UNKNOWN, f"the drill {name} was never held"
    if last.verdict is not Verdict.PASS:
        return last.verdict, f"the last drill {name} ended as {last.verdict}"
    if now - last.time > max_age:
        days = (now - last.time) / DAY
        return Verdict.UNKNOWN, f"the last drill {name} is {days:.1f} d old, and counts for {promql_duration(max_age)}"
    return None


def _conducted(records: list[Record], lines: Sequence[str], where: str) -> Conducted:
    said = [record for record in records if record.task == TASK]
    if not finished(records) or records[-1].step != STEP or not said:
        raise LedgerCorrupt(where, 1, "not the ledger of a finished drill")
    try:
        outcome = Outcome.model_validate(said[-1].value)
    except ValidationError as error:
        raise LedgerCorrupt(where, said[-1].seq + 1, "not the outcome of a drill") from error
    return Conducted(outcome, records[-1].verdict, records[-1].time, tuple(lines))
