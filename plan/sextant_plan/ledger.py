"""The evidence ledger: what every step proved, append-only, chained by hash, artifacts by content.

A run's store holds `ledger/{step}-{attempt}.jsonl`, one writer a file, and `artifacts/sha256/{hex}`.
A record's id is the digest of what it says, without when, where and by which run it was said, so that
two runs of the same plan on the same data can be compared by their ids.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ValidationError

from sextant_plan.canonical import canonical_json, digest_of, digest_of_bytes, digest_of_file
from sextant_plan.errors import InfrastructureError, LedgerCorrupt
from sextant_plan.files import write_atomically
from sextant_plan.schema import Closed, Criterion
from sextant_plan.verdicts import Estimate, Verdict, worst

NOT_IDENTITY = frozenset({"id", "time", "code", "image", "run_id", "seq", "prev_sha256", "attempt"})
Phase = Literal["planning", "data", "model engineering", "evaluation", "deployment", "monitoring"]
END_TASK = "step-end"
MAX_SAFE_INTEGER = 2**53 - 1


class Record(Closed):
    """One line of evidence; fields as in docs/reference/ledger.md."""

    schema_version: Literal[1] = 1
    run_id: str
    step: str
    attempt: int
    seq: int
    prev_sha256: str
    id: str
    phase: Phase
    task: str
    requirement: str
    risk: str
    qa_method: str
    criterion: str | None = None
    criterion_hash: str | None = None
    value: Any = None
    interval: tuple[float | None, float | None] | None = None
    n: int | None = None
    verdict: Verdict
    artifacts: dict[str, str] = {}
    code: str
    image: str
    plan_hash: str
    time: float


def record_id(fields: Mapping[str, Any]) -> str:
    """Return the digest of what a record says; see the module for what is left out."""
    return digest_of({key: value for key, value in fields.items() if key not in NOT_IDENTITY})


def criterion_hash(criterion: Criterion) -> str:
    """Return the digest of one criterion's definition: evidence counts while this is unchanged."""
    return digest_of(criterion.model_dump(mode="json"))


@dataclass(frozen=True)
class Origin:
    """Where evidence comes from: the run, the frozen plan, the code and the image."""

    run_id: str
    plan_hash: str
    code: str
    image: str


LATER = "later"
"""The folder below a run with a ledger of what was proved after the run had ended."""


class ArtifactStore:
    """Content-addressed files of a run."""

    def __init__(self, run: Path) -> None:
        self._root = run / "artifacts" / "sha256"

    def put_bytes(self, data: bytes) -> str:
        """Store `data` once; return its digest."""
        digest = digest_of_bytes(data)
        target = self.path(digest)
        if not target.exists():
            self._root.mkdir(parents=True, exist_ok=True)
            write_atomically(target, data)
        return digest

    def put_json(self, value: Any) -> str:
        """Store a JSON value in canonical form; return its digest."""
        return self.put_bytes(canonical_json(value))

    def path(self, digest: str) -> Path:
        """Return where the artifact of this digest lies, whether or not it is there."""
        return self._root / digest.removeprefix("sha256:")

    def read_bytes(self, digest: str) -> bytes:
        """Return an artifact, verified against its digest; raises LedgerCorrupt if absent or changed."""
        path = self.path(digest)
        if not path.exists() or digest_of_file(path) != digest:
            raise LedgerCorrupt(path, 1, "the artifact is absent or is not what was stored")
        return path.read_bytes()


class LedgerWriter:
    """Writes one attempt of one step. Use as a context manager; a clean exit seals the attempt.

    Opening takes the next free attempt number by exclusive creation, so two writers never share a file.
    Every record is flushed to disk before `record` returns. `overridden` are the hashes of criteria that do not
    enter the step's verdict, because an override is in force for them.
    """

    def __init__(self, run: Path, step: str, phase: Phase, origin: Origin, *, overridden: Collection[str] = ()) -> None:
        self.artifacts = ArtifactStore(run)
        self._step, self._phase, self._origin = step, phase, origin
        self._overridden = frozenset(overridden)
        self._seq, self._previous = 0, digest_of_bytes(b"")
        self.verdicts: list[Verdict] = []
        folder = run / "ledger"
        folder.mkdir(parents=True, exist_ok=True)
        self.attempt = 1
        while True:
            self.path = folder / f"{step}-{self.attempt}.jsonl"
            try:
                self._file = self.path.open("x", encoding="utf-8")
                return
            except FileExistsError:
                self.attempt += 1
            except OSError as error:
                raise InfrastructureError(f"{self.path}: {error.strerror}. Is the run's store writable?") from error

    def record(
        self,
        task: str,
        *,
        requirement: str,
        risk: str,
        qa_method: str,
        verdict: Verdict,
        value: Any = None,
        estimate: Estimate | None = None,
        criterion: Criterion | None = None,
        artifacts: Mapping[str, str] | None = None,
        counts: bool = True,
    ) -> Record:
        """Append one record and return it.

        `estimate` fills value, interval and n; a value or bound that is not finite is written as null,
        since JSON has no other word for it. `counts` is False for a record that informs without judging,
        so that it does not enter the step's verdict.
        """
        fields: dict[str, Any] = {
            "schema_version": 1,
            "run_id": self._origin.run_id,
            "step": self._step,
            "attempt": self.attempt,
            "seq": self._seq,
            "prev_sha256": self._previous,
            "phase": self._phase,
            "task": task,
            "requirement": requirement,
            "risk": risk,
            "qa_method": qa_method,
            "criterion": criterion.id if criterion else None,
            "criterion_hash": criterion_hash(criterion) if criterion else None,
            "value": finite_or_none(estimate.value) if estimate else value,
            "interval": [finite_or_none(estimate.low), finite_or_none(estimate.high)] if estimate else None,
            "n": estimate.n if estimate else None,
            "verdict": str(verdict),
            "artifacts": dict(artifacts or {}),
            "code": self._origin.code,
            "image": self._origin.image,
            "plan_hash": self._origin.plan_hash,
            "time": time.time(),
        }
        fields["id"] = record_id(fields)
        line = canonical_json(fields)
        self._file.write(line.decode() + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._seq, self._previous = self._seq + 1, digest_of_bytes(line)
        if counts and fields["criterion_hash"] not in self._overridden:
            self.verdicts.append(verdict)
        return Record.model_validate(fields)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is None:
            self.record(
                END_TASK,
                requirement="the step ran to its end",
                risk="a step that died half-way is taken for a finished one",
                qa_method="a closing record that only a finished step writes",
                value=str(self.verdict),
                verdict=self.verdict,
            )
        self._file.close()

    @property
    def verdict(self) -> Verdict:
        """The step's verdict so far: any fail, else any unknown, else pass; no judgement is a pass."""
        return worst(self.verdicts) if self.verdicts else Verdict.PASS


def read_attempt(path: Path) -> list[Record]:
    """Read one ledger file and verify its chain and ids.

    A last line without its newline is a crash in mid-write and is left out. Raises LedgerCorrupt.
    """
    return verify_lines(_whole_lines(path), path)


def verify_lines(lines: Iterable[bytes], path: Path | str) -> list[Record]:
    """Return one attempt's records from its lines, chain and ids verified; `path` says where they are from.

    Raises LedgerCorrupt.
    """
    records: list[Record] = []
    previous = digest_of_bytes(b"")
    for number, line in enumerate(lines, 1):
        try:
            fields = json.loads(line, parse_int=_number)
            record = Record.model_validate(fields)
            whole = canonical_json(fields) == line
        except (ValueError, ValidationError, RecursionError) as error:
            raise LedgerCorrupt(path, number, "not a record of schema 1") from error
        if not whole:
            raise LedgerCorrupt(path, number, "the line is not in canonical form, so it was not written by a step")
        if record.seq != number - 1 or record.prev_sha256 != previous:
            raise LedgerCorrupt(path, number, "the chain is broken: a record was removed, added or moved")
        if record.id != record_id(fields):
            raise LedgerCorrupt(path, number, "the record's id is not the digest of what it says")
        records.append(record)
        previous = digest_of_bytes(line)
    return records


def _number(digits: str) -> int | float:
    """Read back a whole number; beyond 2^53 it was a float when RFC 8785 wrote it without its point."""
    return int(digits) if abs(int(digits)) <= MAX_SAFE_INTEGER else float(digits)


def finite_or_none(number: float) -> float | None:
    """Return a number as JSON has it: None for a bound that does not exist."""
    return number if math.isfinite(number) else None


def _whole_lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line[:-1]


def attempts(run: Path) -> Iterator[Path]:
    """Yield the run's ledger files, by step and attempt."""
    yield from sorted((run / "ledger").glob("*.jsonl"), key=_step_and_attempt)


def _step_and_attempt(path: Path) -> tuple[str, int]:
    step, _, attempt = path.stem.rpartition("-")
    return step, int(attempt)


def read_run(run: Path) -> dict[str, list[Record]]:
    """Return each step's records: the last finished attempt, or the last one if none finished."""
    steps: dict[str, list[Record]] = {}
    for path in attempts(run):
        step, _ = _step_and_attempt(path)
        records = read_attempt(path)
        if finished(records) or not finished(steps.get(step, [])):
            steps[step] = records
    return steps


def finished(records: list[Record]) -> bool:
    """Tell whether the attempt ran to its end."""
    return bool(records) and records[-1].task == END_TASK
