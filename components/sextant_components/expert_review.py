"""The experts' queue of a run: its most confident errors, who has looked at them, and the refusal to promote before."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from sextant_components.context import RunContext, Step
from sextant_components.decide import subject_digest
from sextant_components.evaluation_records import ERRORS_FILE, ERRORS_TASK
from sextant_plan.errors import UsageError
from sextant_plan.fault import choose
from sextant_plan.ledger import read_run
from sextant_plan.promotion import NotAdmitted
from sextant_plan.reviews import Finding, Review, outstanding, read_reviews, refused, write_review
from sextant_plan.verdicts import Verdict


@dataclass(frozen=True)
class Queue:
    """The errors to look at, the surest first, each a row of errors.json; and what was said of them."""

    bundle: str
    errors: list[dict[str, Any]]
    reviews: list[Review]

    @property
    def open_rows(self) -> list[int]:
        """The rows that nobody has reviewed."""
        return outstanding([error["row_id"] for error in self.errors], self.reviews)

    @property
    def verdict(self) -> Verdict:
        """`fail` once an error is called unacceptable, `pass` once every one was looked at, else `unknown`."""
        if refused(self.reviews):
            return Verdict.FAIL
        return Verdict.UNKNOWN if self.open_rows else Verdict.PASS


def queue_of(context: RunContext) -> Queue:
    """Return the run's queue, as many errors as evaluation.experts asks for, else all. Raises UsageError before it."""
    records = read_run(context.run).get(Step.EVALUATE, [])
    bundle = subject_digest(records)
    found = [record for record in records if record.task == ERRORS_TASK]
    if bundle is None or not found:
        raise UsageError(f"{context.run}: no evaluation to review. Run the plan first: sextant run.")
    errors = json.loads(context.artifacts.read_bytes(found[-1].artifacts[ERRORS_FILE]))
    experts = context.plan.evaluation.experts
    wanted = errors if experts is None else errors[: experts.errors]
    return Queue(bundle, wanted, read_reviews(context.run, bundle=bundle))


def review(context: RunContext, *, person: str, row_id: int, finding: Finding, remark: str) -> Queue:
    """Write what a person found in one error; return the queue as it is then. Raises UsageError."""
    queue, experts = queue_of(context), context.plan.evaluation.experts
    reviewers = list(experts.reviewers if experts is not None else context.plan.owner.approvers)
    if person not in reviewers:
        raise UsageError(f"--as {person}: the plan names others to review. {choose(person, reviewers)}")
    rows = [error["row_id"] for error in queue.errors]
    if row_id not in rows:
        raise UsageError(f"--row {row_id}: not in the queue. {choose(str(row_id), [str(row) for row in rows])}")
    said = Review(row_id=row_id, bundle=queue.bundle, person=person, finding=finding, remark=remark, time=time.time())
    write_review(context.run, said)
    return queue_of(context)


def require_reviews(context: RunContext) -> None:
    """Raise NotAdmitted where the plan names experts and one of the errors was not looked at, or must not go out."""
    if context.plan.evaluation.experts is None:
        return
    queue = queue_of(context)
    again = f"sextant review {context.run}; then: sextant promote {context.run}"
    if unacceptable := refused(queue.reviews):
        row, said = next(iter(unacceptable.items()))
        problem = f"{said.person} calls the error on row {row} unacceptable" + (
            f": {said.remark}" if said.remark else ""
        )
        raise NotAdmitted(problem, f"Train a better model, or have the finding changed: {again}", verdict=Verdict.FAIL)
    if waiting := queue.open_rows:
        raise NotAdmitted(
            f"{len(waiting)} of {len(queue.errors)} confident errors wait for an expert",
            f"Have them looked at: {again}",
            verdict=Verdict.UNKNOWN,
        )
