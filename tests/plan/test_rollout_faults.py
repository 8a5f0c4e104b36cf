"""A rollout that could never decide, or that nobody judges, is a fault of the plan."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from sextant_plan.rollout_faults import rollout_faults
from sextant_plan.schema import Plan, Rollout

JUDGED = {"id": "errors", "metric": "error_rate", "at_most": 0.02, "enforce": ["canary"]}
USERS = {"users": ["bo", "cy", "di"], "tasks": ["print"]}


def plan(*, criteria: list[dict[str, Any]] | None = None, **rollout: Any) -> Plan:
    return Plan.model_validate(
        {
            "name": "parcels",
            "owner": {"team": "tests", "approvers": ["ada"]},
            "goal": {"business": "sort parcels", "why_ml": "no rule is known"},
            "criteria": criteria or [JUDGED],
            "data": {
                "source": ".",
                "images": "images",
                "licence": {"name": "CC0-1.0", "source": "none", "allows_training": True},
                "consent": {"basis": "none"},
            },
            "model": {
                "task": "image-classification",
                "inputs": {"image": {"height": 8, "width": 8, "channels": 1}},
                "candidates": [{"architecture": "mlp"}],
            },
            "rollout": {"strategy": "canary", **rollout},
        }
    )


def test_a_sound_rollout_has_no_fault() -> None:
    """The rollout that every case below breaks is itself in order."""
    assert list(rollout_faults(plan(acceptance=USERS))) == []


@pytest.mark.parametrize(
    ("broken", "path", "problem"),
    [
        pytest.param(
            plan(criteria=[{**JUDGED, "enforce": ["gate"]}]), "strategy", "no criterion judges", id="nothing judges"
        ),
        pytest.param(
            plan(strategy="ab"), "strategy", "nothing says what the challenger of ab has to be worth",
            id="ab without worth",
        ),
        pytest.param(plan(deadline="15m"), "deadline", "3 steps of 5 looks take 900 s", id="no time for the looks"),
        pytest.param(
            plan(strategy="immediate", criteria=[{**JUDGED, "enforce": ["gate"]}], acceptance=USERS),
            "acceptance", "users try a canary", id="users without a canary",
        ),
        pytest.param(
            plan(acceptance={**USERS, "users": ["bo", "bo", "cy"]}), "users", "a name stands twice", id="user twice"
        ),
        pytest.param(
            plan(acceptance={**USERS, "satisfied_at_least": 0.9}), "satisfied_at_least", "the lower bound is 0.58",
            id="a bound that three users cannot prove",
        ),
    ],
)  # fmt: skip
def test_each_fault_is_named_at_its_place(broken: Plan, path: str, problem: str) -> None:
    """Where it is, what it is; one of each."""
    (fault,) = rollout_faults(broken)
    assert fault.path[-1] == path
    assert problem in fault.problem


@pytest.mark.parametrize("steps", [[100], [], [25, 5, 100], [5, 5, 100], [5, 50], [0, 100], [5, 101]], ids=str)
def test_steps_rise_to_all_traffic(steps: list[int]) -> None:
    """Two or more, and the last is everything."""
    with pytest.raises(ValidationError, match="rising percentages"):
        Rollout(steps=steps)


def test_looks_take_time() -> None:
    """An interval of nothing would look for ever."""
    with pytest.raises(ValidationError, match="longer than nothing"):
        Rollout(interval=0)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        pytest.param({}, None, id="sound"),
        pytest.param({"goal": {"economics": None}}, "what an answer is worth", id="no money"),
        pytest.param({"data": {"entity": None}}, "no unit is named", id="no unit"),
        pytest.param({"serving": {}}, "does not hold the unit parcel_id", id="unit not logged"),
    ],
)
def test_a_comparison_whose_worth_cannot_be_known_is_a_fault(changes: dict[str, Any], problem: str | None) -> None:
    """Found before the experiment, not when its result is read."""
    sound = plan(comparison={}).canonical()
    economics = {"value_per_correct": 1, "cost_per_error": 2, "predictions_per_day": 10}
    parts = {
        "goal": {"economics": economics},
        "data": {"entity": "parcel_id", "table": "table.csv"},
        "serving": {"log": {"hashed": ["parcel_id"]}},
    }
    for key, value in (parts | changes).items():
        sound[key] = (sound[key] | parts[key] if key != "serving" else sound[key]) | value
    found = list(rollout_faults(Plan.model_validate(sound)))
    assert [fault.problem for fault in found if problem is None or problem not in fault.problem] == []
    assert (problem is None) == (found == [])
