"""The experts' queues of a run, its worst errors and its attributions: who has looked, and the refusal to promote."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from sextant_components.evaluation.evaluation_records import ERRORS_FILE, ERRORS_TASK, LARGEST_TASK
from sextant_components.modelling.attributions import ATTRIBUTIONS_FILE, ATTRIBUTIONS_TASK
from sextant_components.runs.context import RunContext, Step
from sextant_components.runs.subject import subject_digest
from sextant_plan.bundle import BundleSpec
from sextant_plan.errors import UsageError
from sextant_plan.fault import choose
from sextant_plan.ledger import LedgerWriter, Record, read_run
from sextant_plan.promotion import NotAdmitted
from sextant_plan.reviews import FINDINGS, Finding, Queue, Review, outstanding, read_reviews, refused, write_review
from sextant_plan.verdicts import Verdict


@dataclass(frozen=True)
class Waiting:
    """The rows to look at, each as its file has it, the surest or largest error first; and what was said of them."""

    kind: Queue
    task: str
    bundle: str
    rows: list[dict[str, Any]]
    reviews: list[Review]

    @property
    def open_rows(self) -> list[int]:
        """The rows that nobody has reviewed."""
        return outstanding([row["row_id"] for row in self.rows], self.reviews)

    @property
    def verdict(self) -> Verdict:
        """`fail` once a row is called unacceptable, `pass` once every one was looked at, else `unknown`."""
        if refused(self.reviews):
            return Verdict.FAIL
        return Verdict.UNKNOWN if self.open_rows else Verdict.PASS


def queue_of(context: RunContext, kind: Queue = "errors") -> Waiting:
    """Return one of the run's queues. Raises UsageError before the step that fills it."""
    return _errors(context) if kind == "errors" else _attributions(context)


def _errors(context: RunContext) -> Waiting:
    """Return as many errors as evaluation.experts asks for, else all."""
    records = read_run(context.run).get(Step.EVALUATE, [])
    bundle = subject_digest(records)
    found = _errors_of(records)
    if bundle is None or found is None:
        raise UsageError(f"{context.run}: no evaluation to review. Run the plan first: sextant run.")
    errors = json.loads(context.artifacts.read_bytes(found.artifacts[ERRORS_FILE]))
    experts = context.plan.evaluation.experts
    wanted = errors if experts is None else errors[: experts.errors]
    return Waiting("errors", found.task, bundle, wanted, read_reviews(context.run, bundle=bundle, queue="errors"))


def _attributions(context: RunContext) -> Waiting:
    records = read_run(context.run).get(Step.OPTIMISE, [])
    found, sealed = _last(records, ATTRIBUTIONS_TASK), _last(records, "bundle")
    if found is None or sealed is None:
        raise UsageError(f"{context.run}: no attributions to review. Run the plan first: sextant run.")
    rows = json.loads(context.artifacts.read_bytes(found.artifacts[ATTRIBUTIONS_FILE]))
    described = context.artifacts.read_bytes(sealed.artifacts["bundle.json"])
    bundle = BundleSpec.model_validate_json(described).digest
    reviews = read_reviews(context.run, bundle=bundle, queue="attributions")
    return Waiting("attributions", found.task, bundle, rows, reviews)


def _last(records: list[Record], task: str) -> Record | None:
    return next((record for record in reversed(records) if record.task == task), None)


def _errors_of(records: list[Record]) -> Record | None:
    """Return the record of the errors to look at: the surest wrong answers, or the numbers that are furthest off."""
    return _last(records, ERRORS_TASK) or _last(records, LARGEST_TASK)


def _reviewers(context: RunContext, kind: Queue) -> list[str] | None:
    """Return who has to look; None where the plan asks nobody."""
    experts, attributions = context.plan.evaluation.experts, context.plan.model.attributions
    if kind == "errors":
        return None if experts is None else list(experts.reviewers)
    return None if attributions is None else list(attributions.reviewers)


def review(
    context: RunContext, *, person: str, row_id: int, finding: Finding, remark: str, kind: Queue = "errors"
) -> Waiting:
    """Write what a person found in one row; return the queue as it is then. Raises UsageError."""
    queue, owner = queue_of(context, kind), context.plan.owner
    reviewers = _reviewers(context, kind) or list(dict.fromkeys([*owner.approvers, *owner.roles.values()]))
    if person not in reviewers:
        raise UsageError(f"--as {person}: the plan names others to review. {choose(person, reviewers)}")
    if finding not in FINDINGS[kind]:
        raise UsageError(f"--finding {finding}: no finding on {kind}. {choose(finding, list(FINDINGS[kind]))}")
    rows = [row["row_id"] for row in queue.rows]
    if row_id not in rows:
        raise UsageError(f"--row {row_id}: not in the queue. {choose(str(row_id), [str(row) for row in rows])}")
    said = Review(
        queue=kind, row_id=row_id, bundle=queue.bundle, person=person, finding=finding, remark=remark, time=time.time()
    )
    write_review(context.run, said)
    return queue_of(context, kind)


WORDS: dict[Queue, str] = {
    "errors": "the error on row {row}",
    "attributions": "what the answer on row {row} rests on",
}


def require_reviews(context: RunContext) -> None:
    """Raise NotAdmitted where the plan asks for a look at a queue and one of its rows has none, or must not go out."""
    for kind in FINDINGS:
        if _reviewers(context, kind) is not None:
            _require(context, queue_of(context, kind))


def _require(context: RunContext, queue: Waiting) -> None:
    command = f"sextant review {context.run}" + ("" if queue.kind == "errors" else f" --of {queue.kind}")
    again = f"{command}; then: sextant promote {context.run}"
    if unacceptable := refused(queue.reviews):
        row, said = next(iter(unacceptable.items()))
        remark = f": {said.remark}" if said.remark else ""
        problem = f"{said.person} calls {WORDS[queue.kind].format(row=row)} unacceptable{remark}"
        raise NotAdmitted(problem, f"Train a better model, or have the finding changed: {again}", verdict=Verdict.FAIL)
    if waiting := queue.open_rows:
        raise NotAdmitted(
            f"{len(waiting)} of {len(queue.rows)} {queue.task} wait for an expert",
            f"Have them looked at: {again}",
            verdict=Verdict.UNKNOWN,
        )


def record_reviews(ledger: LedgerWriter, context: RunContext) -> None:
    """Record what was said of each queue that somebody has looked at, by name and role, with the answers themselves."""
    found = read_run(context.run)
    made = {"errors": _errors_of(found.get(Step.EVALUATE, [])),
            "attributions": _last(found.get(Step.OPTIMISE, []), ATTRIBUTIONS_TASK)}  # fmt: skip
    for kind in FINDINGS:
        if made[kind] is None or not (queue := queue_of(context, kind)).reviews:
            continue
        lines = [_line(context, said) for said in queue.reviews]
        ledger.record(
            queue.task,
            requirement=f"people whom the plan names have looked at the {queue.task} and let them go out",
            risk="what a person would have seen at once reaches the users",
            qa_method="write-once files of named people about this bundle; a row that nobody looked at is unknown",
            verdict=queue.verdict,
            value={"answered": len(queue.rows) - len(queue.open_rows), "open": len(queue.open_rows)},
            artifacts={f"{kind}-answered.json": ledger.artifacts.put_json(lines)},
            counts=_reviewers(context, kind) is not None,
        )


def _line(context: RunContext, said: Review) -> dict[str, Any]:
    roles = [role for role, person in context.plan.owner.roles.items() if person == said.person]
    return {
        "row_id": said.row_id,
        "person": said.person,
        "role": ", ".join(roles) or "reviewer",
        "finding": said.finding,
        "remark": said.remark,
    }
