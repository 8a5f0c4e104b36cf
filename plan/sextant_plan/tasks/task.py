"""What one task of CRISP-ML(Q) is: its quality assurance row, where it lives, and which records are its evidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from sextant_plan.ledger import END_TASK, Phase, Record
from sextant_plan.schema import Plan

Excuse = Callable[[Plan], str | None]


@dataclass(frozen=True)
class Task:
    """One task of the process model with its requirement, its risk and the method that assures it.

    `lives_in` names the modules that do the work. `evidence` are patterns over `step/record task`, where `*` stands
    for any text; `metrics` name the criteria whose records of the task's own phase are evidence too. `excuse` reads
    the reason why a plan has no use for the task, None where it has.
    """

    id: str
    phase: Phase
    name: str
    requirement: str
    risk: str
    method: str
    lives_in: tuple[str, ...]
    evidence: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    excuse: Excuse | None = None

    def claims(self, record: Record, metric: str | None = None) -> bool:
        """Tell whether a record is evidence for this task; `metric` is that of the record's criterion."""
        if record.task == END_TASK:
            return False
        name = f"{record.step}/{record.task}"
        if any(fnmatchcase(name, pattern) for pattern in self.evidence):
            return True
        return metric in self.metrics and record.phase == self.phase

    def excused(self, plan: Plan) -> str | None:
        """Return why the plan has no use for the task, None if it has."""
        return None if self.excuse is None else self.excuse(plan)

    @property
    def steps(self) -> Sequence[str]:
        """The steps that record evidence for it, each once; a pattern over any step names none."""
        return [step for step in dict.fromkeys(each.partition("/")[0] for each in self.evidence) if step != "*"]
