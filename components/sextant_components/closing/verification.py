"""`report --verify`: whether a run's evidence is what was written, whole, concluded and within its look budget."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sextant_components.closing.conclude import CONCLUSION_FILE, Conclusion
from sextant_components.closing.dossier.facts import read_facts
from sextant_components.closing.dossier.page import DOSSIER_FILE, render
from sextant_components.evaluation.looks import looks_taken
from sextant_components.runs.context import RunContext, Step, code_version
from sextant_components.runs.outcome import Outcome, read_outcome
from sextant_plan.errors import ExitCode
from sextant_plan.ledger import LATER, Record
from sextant_plan.verification import NO_LINE, Flaw, Ledgers, verify_ledgers

LOOK, SEALED, SUBJECT = (Step.EVALUATE, "look"), (Step.PREPARE, "sealed split"), (Step.EVALUATE, "bundle under test")


@dataclass(frozen=True)
class Verification:
    """What was verified and what is wrong. `overspent` are looks at the sealed rows beyond the plan's budget."""

    ledgers: Ledgers
    faults: list[Flaw]
    gaps: list[Flaw]
    overspent: list[Flaw]

    @property
    def exit_code(self) -> ExitCode:
        """4 for evidence that is not what was written, 1 for a look too many, 3 for a gap, else 0."""
        if self.faults:
            return ExitCode.INFRASTRUCTURE
        if self.overspent:
            return ExitCode.GATE_FAILED
        return ExitCode.GATE_UNKNOWN if self.gaps else ExitCode.OK

    def as_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {
            "exit_code": int(self.exit_code),
            "files": self.ledgers.files,
            "records": self.ledgers.records,
            "artifacts": self.ledgers.artifacts,
            "faults": [vars(flaw) for flaw in self.faults],
            "overspent": [vars(flaw) for flaw in self.overspent],
            "gaps": [vars(flaw) for flaw in self.gaps],
        }


def verify_run(context: RunContext) -> Verification:
    """Verify a run's ledger, artifacts, plan, conclusion, dossier and look count; changes nothing."""
    ledgers = verify_ledgers(context.run, context.run_id, context.plan)
    later = verify_ledgers(context.run / LATER, context.run_id, context.plan)
    outcome = read_outcome(context.run)
    faults = [*ledgers.faults, *map(_of_later, later.faults)]
    gaps = [*ledgers.gaps, *map(_of_later, later.gaps)]
    for check in (_conclusion, _dossier):
        wrong, missing = check(context, outcome)
        faults += wrong
        gaps += missing
    wrong, missing, overspent = _looks(context, outcome)
    return Verification(ledgers, sorted(faults + wrong), sorted(gaps + missing), overspent)


def _of_later(flaw: Flaw) -> Flaw:
    return replace(flaw, file=f"{LATER}/{flaw.file}")


def _conclusion(context: RunContext, outcome: Outcome) -> tuple[list[Flaw], list[Flaw]]:
    """Compare the ledger files with those that the conclusion sealed, and its verdict with theirs."""
    try:
        said = Conclusion.model_validate_json((context.run / CONCLUSION_FILE).read_bytes())
    except FileNotFoundError:
        return [], [Flaw(CONCLUSION_FILE, NO_LINE, "absent: the run has not ended")]
    except ValidationError as error:
        return [Flaw(CONCLUSION_FILE, NO_LINE, f"not a conclusion of this version: {error.error_count()} faults")], []
    faults = []
    hashes = {record.plan_hash for record in outcome.records}
    if said.run_id != context.run_id or (hashes and hashes != {said.plan_hash}):
        problem = f"is of run {said.run_id} under the plan {said.plan_hash}; the records are not"
        faults.append(Flaw(CONCLUSION_FILE, NO_LINE, problem))
    now = {name: digest for name, digest in outcome.files.items() if name.startswith("ledger/")}
    for name in sorted(said.ledgers.keys() | now.keys()):
        if name not in now:
            faults.append(Flaw(name, NO_LINE, "absent, although the conclusion names it"))
        elif name not in said.ledgers:
            faults.append(Flaw(name, NO_LINE, "written after the run was concluded"))
        elif now[name] != said.ledgers[name]:
            faults.append(Flaw(name, NO_LINE, "changed after the run was concluded"))
    if not faults and (said.verdict, said.exit_code) != (outcome.verdict, outcome.exit_code):
        problem = f"says {said.verdict} ({said.exit_code}); the evidence says {outcome.verdict} ({outcome.exit_code})"
        faults.append(Flaw(CONCLUSION_FILE, NO_LINE, problem))
    return faults, []


def _dossier(context: RunContext, outcome: Outcome) -> tuple[list[Flaw], list[Flaw]]:
    """Render the dossier again and compare; another version of the code may word it otherwise, so it is not judged."""
    path = context.run / DOSSIER_FILE
    if not path.exists():
        return [], [Flaw(DOSSIER_FILE, NO_LINE, "absent: the run has not been closed")]
    if {record.code for record in outcome.records} != {code_version()}:
        return [], []
    if path.read_text(encoding="utf-8") != render(read_facts(context)):
        return [Flaw(DOSSIER_FILE, NO_LINE, "is not what the evidence renders to: it or the evidence was changed")], []
    return [], []


def _looks(context: RunContext, outcome: Outcome) -> tuple[list[Flaw], list[Flaw], list[Flaw]]:
    """Compare the recorded look with the plan's budget and with the write-once count."""
    look, sealed, subject = (_record(outcome, *which) for which in (LOOK, SEALED, SUBJECT))
    if look is None or sealed is None or subject is None:
        return [], [], []
    assert look[1].value is not None
    number, budget = look[1].value["look"], context.plan.evaluation.looks
    file, line = look[0], look[1].seq + 1
    overspent = [Flaw(file, line, f"look {number}, and the plan allows {budget}")] if number > budget else []
    taken = looks_taken(context.home, plan=context.plan.name, sealed_digest=sealed[1].value["sealed_digest"])
    if taken is None:
        problem = f"look {number} cannot be compared: no count of looks in {context.home}"
        return [], [Flaw(file, line, problem)], overspent
    if taken.get(f"look-{number}") != subject[1].value["version"]:
        problem = f"the count of looks has {taken.get(f'look-{number}', 'nothing')} for look {number}, not this bundle"
        return [Flaw(file, line, problem)], [], overspent
    return [], [], overspent


def _record(outcome: Outcome, step: Step, task: str) -> tuple[str, Record] | None:
    """Return the last record of a task with its ledger file, None if the step recorded none."""
    found = [record for record in outcome.steps[step].records if record.task == task]
    file = outcome.steps[step].file
    return (file, found[-1]) if found and file is not None else None


def describe(run: Path, found: Verification) -> list[str]:
    """Return the lines that tell a reader what was verified and each flaw with its file and line."""
    lines = [f"fault    {run}/{flaw}" for flaw in found.faults]
    lines += [f"overspent {run}/{flaw}" for flaw in found.overspent]
    lines += [f"gap      {run}/{flaw}" for flaw in found.gaps]
    counted = found.ledgers
    lines.append(
        f"{counted.records} records in {counted.files} ledger files and {counted.artifacts} artifacts verified: "
        f"{len(found.faults)} faults, {len(found.gaps)} gaps"
    )
    return lines
