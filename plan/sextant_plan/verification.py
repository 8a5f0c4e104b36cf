"""Verification of a run's ledger and artifacts: every digest, the chain, the plan's hash, and no gap.

The plan that counts is the frozen one: the artifact whose digest is the hash in the records. It is compared as it was
stored, so that a later version of the schema, with a new default, does not make old evidence look changed.

A fault means that evidence is not what was written. A gap means that something is missing which a crash or a run that
is still going explains; it proves nothing wrong, and nothing right either.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from sextant_plan.canonical import digest_of, digest_of_file
from sextant_plan.errors import LedgerCorrupt
from sextant_plan.ledger import ArtifactStore, Record, attempts, finished, read_attempt
from sextant_plan.schema import Plan

NO_LINE = 0
PLAN_FILE = "plan.yaml"


@dataclass(frozen=True, order=True)
class Flaw:
    """One thing that is wrong or missing: the file, its 1-based line (0 for the file as a whole), and what it is."""

    file: str
    line: int
    problem: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.problem}" if self.line else f"{self.file}: {self.problem}"


class Frozen(NamedTuple):
    """The plan as a run froze it: its hash, and the digest of each criterion's definition."""

    plan_hash: str
    criteria: dict[str, str]


@dataclass(frozen=True)
class Ledgers:
    """What verification found: the counted files, records and artifacts, and every flaw."""

    files: int
    records: int
    artifacts: int
    faults: list[Flaw]
    gaps: list[Flaw]


def verify_ledgers(run: Path, run_id: str, plan: Plan) -> Ledgers:
    """Verify every attempt of every step and every stored artifact; never raises for what it finds.

    `plan` is that of the run's plan file; it has to say what the frozen plan says.
    """
    faults: list[Flaw] = []
    gaps: list[Flaw] = []
    found: dict[Path, list[Record]] = {}
    for path in _ledger_files(run, faults):
        try:
            found[path] = read_attempt(path)
        except LedgerCorrupt as error:
            faults.append(Flaw(_name(run, path), error.line, error.problem))
            continue
        except OSError as error:
            faults.append(Flaw(_name(run, path), NO_LINE, str(error.strerror)))
            continue
    for path, records in found.items():
        if not _superseded(path, found):
            gaps += _torn(run, path, records)
    gaps += _missing_attempts(run)
    frozen = _frozen(run, found, plan, faults)
    for path, records in found.items():
        faults += _misplaced(run, path, records, run_id, frozen)
    stored, damaged = _artifacts(run, found)
    return Ledgers(len(found), sum(map(len, found.values())), stored, sorted(faults + damaged), sorted(gaps))


def _name(run: Path, path: Path) -> str:
    return str(path.relative_to(run))


def _ledger_files(run: Path, faults: list[Flaw]) -> Iterator[Path]:
    folder = run / "ledger"
    strange = [path for path in folder.glob("*") if not _attempt_of(path)]
    faults += [Flaw(_name(run, path), NO_LINE, "not the name of an attempt, STEP-NUMBER.jsonl") for path in strange]
    if strange:
        yield from sorted(path for path in folder.glob("*.jsonl") if path not in strange)
    else:
        yield from attempts(run)


def _attempt_of(path: Path) -> tuple[str, int] | None:
    step, _, number = path.stem.rpartition("-")
    return (step, int(number)) if path.suffix == ".jsonl" and step and number.isdecimal() else None


def _frozen(run: Path, found: Mapping[Path, list[Record]], plan: Plan, faults: list[Flaw]) -> Frozen | None:
    """Return the plan that the first record names, from its artifact; a fault is added if it cannot be had."""
    records = [(path, record) for path, records in found.items() for record in records]
    if not records:
        return None
    path, earliest = min(records, key=lambda item: item[1].time)
    place = _name(run, path), earliest.seq + 1
    try:
        canonical = ArtifactStore(run).read_bytes(earliest.plan_hash)
        stored = Plan.model_validate_json(canonical)
    except LedgerCorrupt as error:
        faults.append(Flaw(*place, f"the frozen plan {earliest.plan_hash}: {error.problem}"))
        return None
    except ValidationError:
        faults.append(Flaw(*place, f"the frozen plan {earliest.plan_hash} is not a plan of this version"))
        return None
    if stored != plan:
        faults.append(Flaw(PLAN_FILE, NO_LINE, f"does not say what the frozen plan {earliest.plan_hash} says"))
    raw = json.loads(canonical)["criteria"]
    return Frozen(earliest.plan_hash, {criterion["id"]: digest_of(criterion) for criterion in raw})


def _misplaced(run: Path, path: Path, records: list[Record], run_id: str, frozen: Frozen | None) -> list[Flaw]:
    """Return the records that belong to another file, run, plan or definition; each reason once, where it begins."""
    first: dict[str, int] = {}
    for line, record in enumerate(records, 1):
        problem = _problem(record, _attempt_of(path), run_id, frozen)
        if problem is not None:
            first.setdefault(problem, line)
    return [Flaw(_name(run, path), line, problem) for problem, line in first.items()]


def _problem(record: Record, wanted: tuple[str, int] | None, run_id: str, frozen: Frozen | None) -> str | None:
    if (record.step, record.attempt) != wanted:
        return f"the record is of {record.step}-{record.attempt}, so the file was renamed or copied"
    if record.run_id != run_id:
        return f"the record is of run {record.run_id}, not of {run_id}"
    if frozen is None:
        return None
    if record.plan_hash != frozen.plan_hash:
        return f"the record was made under the plan {record.plan_hash}, the run froze {frozen.plan_hash}"
    if record.criterion is not None and record.criterion not in frozen.criteria:
        return f"the plan has no criterion {record.criterion}"
    if record.criterion is not None and record.criterion_hash != frozen.criteria[record.criterion]:
        return f"the criterion {record.criterion} was defined otherwise when this was recorded"
    return None


def _superseded(path: Path, found: Mapping[Path, list[Record]]) -> bool:
    """Tell whether a later attempt of the same step came to its end, so that this one need not have."""
    own = _attempt_of(path)
    others = [(_attempt_of(other), records) for other, records in found.items()]
    return own is not None and any(
        other is not None and other[0] == own[0] and other[1] > own[1] and finished(records)
        for other, records in others
    )


def _torn(run: Path, path: Path, records: list[Record]) -> Iterator[Flaw]:
    if not path.read_bytes().endswith(b"\n") and path.stat().st_size:
        yield Flaw(_name(run, path), len(records) + 1, "a line without its end: the step died while it wrote it")
    elif not finished(records):
        yield Flaw(_name(run, path), NO_LINE, "the attempt has no closing record: it died, or is still going")


def _missing_attempts(run: Path) -> Iterator[Flaw]:
    numbers: dict[str, set[int]] = {}
    for path in (run / "ledger").glob("*.jsonl"):
        named = _attempt_of(path)
        if named is not None:
            numbers.setdefault(named[0], set()).add(named[1])
    for step, present in sorted(numbers.items()):
        for number in sorted(set(range(1, max(present) + 1)) - present):
            yield Flaw(f"ledger/{step}-{number}.jsonl", NO_LINE, "absent, although a later attempt is there")


def _artifacts(run: Path, found: Mapping[Path, list[Record]]) -> tuple[int, list[Flaw]]:
    """Return how many stored artifacts are whole, and a fault for each named or stored one that is not."""
    store, faults, whole = ArtifactStore(run), [], set()
    for path in sorted((run / "artifacts" / "sha256").glob("[!.]*")):
        digest = f"sha256:{path.name}"
        if digest_of_file(path) == digest:
            whole.add(digest)
        else:
            faults.append(Flaw(_name(run, path), NO_LINE, "the content is not what its name says"))
    for path, records in found.items():
        for line, record in enumerate(records, 1):
            for name, digest in sorted(record.artifacts.items()):
                if not store.path(digest).is_file():
                    problem = f"the artifact {name} of “{record.task}”, {digest}, is absent"
                    faults.append(Flaw(_name(run, path), line, problem))
                elif digest not in whole:
                    problem = f"the artifact {name} of “{record.task}”, {digest}, was changed"
                    faults.append(Flaw(_name(run, path), line, problem))
    return len(whole), faults
