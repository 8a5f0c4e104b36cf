"""User acceptance: who may rate, what counts, and when the verdict is there."""

from __future__ import annotations

import pytest

from sextant_plan.acceptance import AcceptanceRecord, Rating, best_satisfaction, judge_acceptance
from sextant_plan.schema import Acceptance
from sextant_plan.verdicts import Verdict

USERS = ["bo", "cy", "di", "ed", "fay"]
WANTED = Acceptance(users=USERS, tasks=["label", "search"])


def rated(*stars: int, signed: str | None = "ada", tasks: int = 2) -> AcceptanceRecord:
    ratings = [
        Rating(user=user, task=task, stars=given)
        for user, given in zip(USERS, stars, strict=False)
        for task in WANTED.tasks[:tasks]
    ]
    return AcceptanceRecord(ratings=ratings, signed_by=signed)


@pytest.mark.parametrize(
    ("record", "verdict"),
    [
        pytest.param(rated(5, 4, 5, 4, 4), Verdict.PASS, id="all satisfied and signed"),
        pytest.param(rated(5, 4, 5, 4, 4, signed=None), Verdict.UNKNOWN, id="not signed"),
        pytest.param(rated(5, 4, 5, 4), Verdict.UNKNOWN, id="one has not rated"),
        pytest.param(rated(5, 4, 5, 4, 4, tasks=1), Verdict.UNKNOWN, id="one task not tried"),
        pytest.param(rated(5, 4, 5, 2, 2), Verdict.UNKNOWN, id="undecided"),
        pytest.param(rated(1, 2, 1, 2, 5), Verdict.FAIL, id="proved dissatisfied"),
        pytest.param(AcceptanceRecord(), Verdict.UNKNOWN, id="nobody yet"),
    ],
)
def test_the_bound_the_users_and_the_signature_decide(record: AcceptanceRecord, verdict: Verdict) -> None:
    """At least half of the users satisfied, with 80 % confidence."""
    assert judge_acceptance(WANTED, record) is verdict


def test_the_last_rating_of_a_user_and_task_counts() -> None:
    """Who tries again may change his mind."""
    first = rated(1, 2, 5, 4, 4)
    again = [Rating(user="bo", task=task, stars=5) for task in WANTED.tasks]
    assert judge_acceptance(WANTED, first) is Verdict.UNKNOWN
    assert judge_acceptance(WANTED, first.model_copy(update={"ratings": [*first.ratings, *again]})) is Verdict.PASS


def test_more_users_can_prove_more() -> None:
    """The best lower bound of five is the fifth root of the error probability."""
    assert best_satisfaction(WANTED) == pytest.approx(0.2**0.2)
