"""How a run went, read from its folder alone: each step's state and verdict, what broke, and what that adds up to.

Reading never raises: a ledger that cannot be trusted, an artifact that was changed and a step that died are
findings here, because the dossier and the conclusion are written above all for runs that went wrong.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from sextant_components.runs.context import PIPELINES, PipelineName, Step, pipeline_of
from sextant_plan.canonical import digest_of_file
from sextant_plan.errors import ExitCode, LedgerCorrupt, gravest
from sextant_plan.ledger import ArtifactStore, Record, finished, read_attempt
from sextant_plan.verdicts import Verdict, exit_code, worst

ERROR_FILE = "error.json"
# The steps without which a pipeline has not done what it is for.
PROMISED: dict[PipelineName, tuple[Step, ...]] = {
    "lifecycle": (Step.DECIDE, Step.REGISTER, Step.ROLL_OUT),
    "retrain": (Step.DECIDE, Step.REGISTER, Step.ROLL_OUT),
    "ingest": (Step.INGEST, Step.VERIFY),
    "monitor": (Step.WATCH,),
}
CLOCK_SLACK_SECONDS = 1.0  # a file's time comes from the kernel's coarse clock, a record's from time.time()


class State(StrEnum):
    """How far a step came."""

    FINISHED = "finished"
    UNFINISHED = "unfinished"
    CORRUPT = "corrupt"
    NOT_REACHED = "not reached"


@dataclass(frozen=True)
class StepOutcome:
    """One step's attempt that counts: the last finished one, or the last one if none finished.

    `file` is its ledger file relative to the run, None if the step was not reached.
    """

    step: Step
    state: State
    records: list[Record]
    file: str | None = None
    problem: str | None = None

    @property
    def verdict(self) -> Verdict | None:
        """The verdict of a finished step; None for any other."""
        return self.records[-1].verdict if self.state is State.FINISHED else None


class StepError(BaseModel):
    """What the steps' wrapper left in error.json about an exception; `known` ones are ours and need no type.

    The file holds the trace besides, for whoever opens it.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    step: str
    type: str = ""
    known: bool = True
    exit_code: ExitCode
    message: str

    @property
    def sentence(self) -> str:
        """Which step raised and why."""
        return f"step {self.step}: {'' if self.known else f'{self.type}: '}{self.message}"


@dataclass(frozen=True)
class Outcome:
    """A run as its folder shows it. `files` are the digests of the files of evidence, by their path in the run.

    `damaged` says what is wrong with each artifact that a record names and that cannot be trusted.
    """

    run: Path
    steps: dict[Step, StepOutcome]
    error: StepError | None
    files: dict[str, str]
    damaged: dict[str, str]
    pipeline: PipelineName = "lifecycle"

    @cached_property
    def records(self) -> list[Record]:
        """Every trustworthy record that counts, in the order of the life cycle."""
        return [record for outcome in self.steps.values() for record in outcome.records]

    @property
    def unfinished(self) -> list[Step]:
        """The steps that began and did not come to their end, or whose ledger cannot be read."""
        return [step for step, found in self.steps.items() if found.state in {State.UNFINISHED, State.CORRUPT}]

    @property
    def not_reached(self) -> list[Step]:
        """The pipeline's steps that never began."""
        return [step for step in PIPELINES[self.pipeline] if self.steps[step].state is State.NOT_REACHED]

    @property
    def verdict(self) -> Verdict:
        """The run's verdict; `pass` only if everything passed and the decision was taken and carried out."""
        found = [step.verdict for step in self.steps.values() if step.verdict is not None]
        if self.error is not None and self.error.exit_code is ExitCode.GATE_FAILED:
            found.append(Verdict.FAIL)
        whole = not self.unfinished and not self.damaged and self.error is None
        if not whole or any(self.steps[step].state is State.NOT_REACHED for step in PROMISED[self.pipeline]):
            found.append(Verdict.UNKNOWN)
        return worst(found)

    @property
    def exit_code(self) -> ExitCode:
        """The run's exit: usage error, then infrastructure, then any fail, then any unknown, then OK."""
        codes = {exit_code(self.verdict)}
        if self.error is not None:
            codes.add(self.error.exit_code)
        explained = {self.error.step} if self.error is not None else set()
        if self.damaged or any(step.value not in explained for step in self.unfinished):
            codes.add(ExitCode.INFRASTRUCTURE)
        found = gravest(codes)
        assert found is not None
        return found


def read_outcome(run: Path) -> Outcome:
    """Read a run's ledger, artifacts and error file; never raises for what it finds there."""
    steps = {step: _step_outcome(run, step) for step in Step}
    records = [record for step in steps.values() for record in step.records]
    files = [run / ERROR_FILE, run / "plan.yaml", *sorted((run / "ledger").glob("*.jsonl"))]
    return Outcome(
        run=run,
        steps=steps,
        error=_standing_error(run, steps.values()),
        files={str(path.relative_to(run)): digest_of_file(path) for path in files if path.is_file()},
        damaged=_damaged(run, records),
        pipeline=pipeline_of(run),
    )


def _step_outcome(run: Path, step: Step) -> StepOutcome:
    best = StepOutcome(step, State.NOT_REACHED, [])
    for path in sorted((run / "ledger").glob(f"{step.value}-*.jsonl"), key=_attempt):
        name = str(path.relative_to(run))
        try:
            records = read_attempt(path)
        except LedgerCorrupt as error:
            # A broken attempt counts even beside a sound one: which of them is the truth is not for us to choose.
            return StepOutcome(step, State.CORRUPT, [], name, str(error))
        except OSError as error:
            return StepOutcome(step, State.CORRUPT, [], name, f"{path}: {error.strerror}")
        if finished(records):
            best = StepOutcome(step, State.FINISHED, records, name)
        elif best.state is not State.FINISHED:
            best = StepOutcome(step, State.UNFINISHED, records, name, "its ledger has no closing record")
    return best


def _attempt(path: Path) -> tuple[int, str]:
    number = path.stem.rpartition("-")[2]
    return (int(number) if number.isdecimal() else 0, path.name)


def read_error(run: Path) -> StepError | None:
    """Return what error.json says, None if no step raised; a file that cannot be read is an error of its own."""
    path = run / ERROR_FILE
    try:
        return StepError.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValidationError, OSError):
        return StepError(
            step="unknown",
            exit_code=ExitCode.INFRASTRUCTURE,
            message=f"{path}: not an error report of this version. Read run.log in the same folder.",
        )


def _standing_error(run: Path, steps: Iterable[StepOutcome]) -> StepError | None:
    """Return the run's error unless the step that raised finished in a later attempt."""
    error = read_error(run)
    if error is None:
        return None
    written = (run / ERROR_FILE).stat().st_mtime
    retried = any(
        found.step.value == error.step
        and found.state is State.FINISHED
        and found.records[-1].time > written + CLOCK_SLACK_SECONDS
        for found in steps
    )
    return None if retried else error


def _damaged(run: Path, records: Iterable[Record]) -> dict[str, str]:
    store = ArtifactStore(run)
    damaged: dict[str, str] = {}
    for digest in {digest for record in records for digest in record.artifacts.values()}:
        path = store.path(digest)
        if not path.is_file():
            damaged[digest] = "the artifact is absent"
        elif digest_of_file(path) != digest:
            damaged[digest] = "the artifact is not what was stored"
    return dict(sorted(damaged.items()))
