"""What the dossier is written from: the run's outcome, its records by step, their artifacts, and the plan."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from sextant_components.closing.dossier.claims import Citable, Citation
from sextant_components.runs.context import RunContext, Step
from sextant_components.runs.outcome import Outcome, read_outcome
from sextant_plan.canonical import digest_of
from sextant_plan.errors import LedgerCorrupt
from sextant_plan.ledger import (
    END_TASK,
    LATER,
    ArtifactStore,
    Record,
    attempts,
    criterion_hash,
    finished,
    read_attempt,
)
from sextant_plan.schema import Criterion, Plan
from sextant_plan.unanswered import with_gaps_named
from sextant_plan.verdicts import Verdict

LEDGER_ANCHOR = "f-ledger"
PLAN_FILE = "plan.yaml"


@dataclass(frozen=True)
class Artifact:
    """One file that a record names."""

    name: str
    digest: str
    record: Record


class Facts:
    """A run as the dossier sees it."""

    def __init__(self, context: RunContext, outcome: Outcome) -> None:
        self.context, self.outcome = context, outcome
        self._stores = [ArtifactStore(context.run), ArtifactStore(context.run / LATER)]

    @cached_property
    def plan(self) -> tuple[Plan, Citable]:
        """The plan as it was frozen, with the record that froze it; the plan file where no record did.

        What `init` wrote for the user to replace is no answer, and reads as none.
        """
        for artifact in self.artifacts(*Step):
            if artifact.digest == artifact.record.plan_hash:
                try:
                    frozen = Plan.model_validate_json(self.read(artifact) or b"")
                except ValidationError:
                    continue
                return with_gaps_named(frozen), artifact.record
        return with_gaps_named(self.context.plan), self.file(PLAN_FILE)

    @property
    def plan_hash(self) -> str:
        """The hash of the plan as it was frozen; a later version of the schema may give the plan file another."""
        _, source = self.plan
        return source.plan_hash if isinstance(source, Record) else self.context.plan_hash

    @property
    def ledger(self) -> Citation:
        """The ledger as a whole, for statements about what it does not hold."""
        files = {name: digest for name, digest in self.outcome.files.items() if name.startswith("ledger/")}
        return Citation(LEDGER_ANCHOR, digest_of(files))

    def file(self, name: str) -> Citation:
        """One of the run's own files, such as `error.json`; the ledger as a whole if it is absent."""
        digest = self.outcome.files.get(name)
        return self.ledger if digest is None else Citation(f"f-{name.replace('/', '-')}", digest)

    def records(self, *steps: Step) -> list[Record]:
        """Every record of these steps but the closing ones."""
        return [record for step in steps for record in self.outcome.steps[step].records if record.task != END_TASK]

    @cached_property
    def later(self) -> list[Record]:
        """What was proved after the run had ended, by subject; evidence that cannot be trusted is left out."""
        folder = self.context.run / LATER
        subjects: dict[str, list[Record]] = {}
        for path in attempts(folder) if folder.is_dir() else ():
            try:
                records = read_attempt(path)
            except (LedgerCorrupt, OSError):
                continue  # `sextant report --verify` names it
            if finished(records):
                subjects[records[-1].step] = records[:-1]
        return [record for records in subjects.values() for record in records]

    def find(self, step: Step, task: str) -> Record | None:
        """Return a step's last record of a task, None if there is none."""
        found = [record for record in self.records(step) if record.task == task]
        return found[-1] if found else None

    def closing(self, step: Step) -> Record | None:
        """The record that closed a step, None if the step did not finish."""
        found = self.outcome.steps[step]
        return found.records[-1] if found.verdict is not None else None

    def artifacts(self, *steps: Step) -> Iterator[Artifact]:
        """Yield every artifact of these steps, in the order of the records."""
        yield from self.artifacts_of(self.records(*steps))

    def artifacts_of(self, records: Iterable[Record]) -> Iterator[Artifact]:
        """Yield every artifact of these records, in their order."""
        for record in records:
            for name, digest in sorted(record.artifacts.items()):
                yield Artifact(name, digest, record)

    def read(self, artifact: Artifact) -> bytes | None:
        """Return an artifact's bytes, or None if it is absent or was changed, which the answer then says."""
        for store in self._stores:
            with suppress(LedgerCorrupt):
                return store.read_bytes(artifact.digest)
        return None

    def read_json(self, artifact: Artifact) -> Any:
        """Return the JSON value, or the list of values of JSON lines; None if the artifact holds neither."""
        data = self.read(artifact) or b""
        for parse in (json.loads, _json_lines):
            try:
                return parse(data.decode())
            except ValueError:
                continue
        return None

    def measured(self, criterion: Criterion) -> Record | None:
        """Return the last record of the step that computes the criterion's metric, as the plan defines it now.

        The same criterion may be held again in service; what `watch` found of it is not what the gate saw.
        """
        return self._last(criterion, Step(criterion.definition.step))

    def decided(self, criterion: Criterion) -> Record | None:
        """Return the decision's own record of the criterion."""
        return self._last(criterion, Step.DECIDE)

    def _last(self, criterion: Criterion, step: Step) -> Record | None:
        wanted = criterion_hash(criterion)
        found = [r for r in self.records(step) if r.criterion == criterion.id and r.criterion_hash == wanted]
        return found[-1] if found else None


def read_facts(context: RunContext) -> Facts:
    """Read the run's folder; never raises for what it finds there."""
    return Facts(context, read_outcome(context.run))


def _json_lines(text: str) -> list[Any] | None:
    return [json.loads(line) for line in text.splitlines()] or None


def is_bad(record: Record) -> bool:
    """Tell whether the record does not pass."""
    return record.verdict is not Verdict.PASS
