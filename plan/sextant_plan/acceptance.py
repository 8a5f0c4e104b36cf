"""User acceptance: named users try named tasks on the canary and rate them; a bound and a signature decide.

The unit is the user, since one person's ratings of several tasks are not independent.
"""

from __future__ import annotations

from pydantic import Field

from sextant_plan.bounds import proportion
from sextant_plan.errors import UsageError
from sextant_plan.schema import Acceptance, Closed, Plan
from sextant_plan.verdicts import Estimate, Verdict, judge


class Rating(Closed):
    """One user's rating of one task, from 1 (useless) to 5; the last one of the same user and task counts."""

    user: str
    task: str
    stars: int = Field(ge=1, le=5)


class AcceptanceRecord(Closed):
    """What has come in: the ratings in order, and which approver has signed."""

    ratings: list[Rating] = []
    signed_by: str | None = None


def add_rating(plan: Plan, record: AcceptanceRecord, rating: Rating) -> AcceptanceRecord:
    """Return the record with one more rating. Raises UsageError for a user or task that the plan does not name."""
    wanted = _wanted(plan)
    for key, known in (("user", wanted.users), ("task", wanted.tasks)):
        if (name := getattr(rating, key)) not in known:
            raise UsageError(
                f"rollout.acceptance names no {key} {name!r}. Choose from: {', '.join(known)}, or amend the plan."
            )
    return record.model_copy(update={"ratings": [*record.ratings, rating]})


def sign(plan: Plan, record: AcceptanceRecord, approver: str) -> AcceptanceRecord:
    """Return the record with a signature. Raises UsageError if the plan names no such approver."""
    _wanted(plan)
    if approver not in plan.owner.approvers:
        raise UsageError(f"{approver!r} is none of owner.approvers: {', '.join(plan.owner.approvers)}.")
    return record.model_copy(update={"signed_by": approver})


def satisfaction(wanted: Acceptance, record: AcceptanceRecord) -> Estimate | None:
    """Return the share of satisfied users among those who rated every task; None while nobody has."""
    stars = {(rating.user, rating.task): rating.stars for rating in record.ratings}
    complete = [user for user in wanted.users if all((user, task) in stars for task in wanted.tasks)]
    if not complete:
        return None
    satisfied = sum(all(stars[user, task] >= wanted.satisfied_from for task in wanted.tasks) for user in complete)
    return proportion(satisfied, len(complete), wanted.confidence)


def judge_acceptance(wanted: Acceptance, record: AcceptanceRecord) -> Verdict:
    """Return pass once every user has rated every task, the bound holds and an approver has signed.

    Fail as soon as the bound is proved to be missed; else unknown.
    """
    estimate = satisfaction(wanted, record)
    verdict = judge(estimate, at_least=wanted.satisfied_at_least, at_most=None, min_n=len(wanted.users))
    if verdict is Verdict.PASS and record.signed_by is None:
        return Verdict.UNKNOWN
    return verdict


def best_satisfaction(wanted: Acceptance) -> float:
    """Return the lower bound that is reached if every user is satisfied: no plan may ask for more."""
    users = len(wanted.users)
    return proportion(users, users, wanted.confidence).low


def _wanted(plan: Plan) -> Acceptance:
    if plan.rollout.acceptance is None:
        raise UsageError("the plan asks for no user acceptance. Add rollout.acceptance and start a run of that plan.")
    return plan.rollout.acceptance
