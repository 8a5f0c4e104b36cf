"""The catalogue of CRISP-ML(Q) tasks: complete, alive, and honest about what a plan has no use for."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import pytest

from sextant_plan.catalogue.metrics import METRICS
from sextant_plan.ledger import Phase
from sextant_plan.loading import load_plan
from sextant_plan.schema import Plan
from sextant_plan.tasks import TASKS, Task

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def tiny() -> Plan:
    """The plan of the tiny example."""
    return load_plan(EXAMPLES / "tiny" / "plan.yaml")


def task(name: str) -> Task:
    """Return the task of this id."""
    (found,) = [each for each in TASKS if each.id == name]
    return found


def test_every_phase_has_its_tasks() -> None:
    """Six phases, in their order, each task once."""
    assert list(dict.fromkeys(each.phase for each in TASKS)) == list(get_args(Phase))
    assert len({each.id for each in TASKS}) == len(TASKS) >= 40


@pytest.mark.parametrize("each", TASKS, ids=lambda each: each.id)
def test_a_task_is_assured_and_lives_somewhere(each: Task) -> None:
    """Requirement, risk and method are said, its modules exist, and something can be evidence for it."""
    assert all((each.requirement, each.risk, each.method, each.evidence or each.metrics))
    assert [module for module in each.lives_in if find_spec(module) is None] == []
    assert set(each.metrics) <= METRICS.keys()


def test_a_plan_without_raters_has_no_agreement_to_show(tiny: Plan) -> None:
    """The reason is read from the plan, and a plan with raters has none."""
    reason = task("labelling").excused(tiny)
    assert reason is not None
    assert "names no raters" in reason
    raters = tiny.model_dump(mode="json")
    raters["data"]["labelling"] = {"raters": ["one", "two"]}
    assert task("labelling").excused(Plan.model_validate(raters)) is None


def test_high_risk_is_not_excused_from_explaining(tiny: Plan) -> None:
    """Where people are at stake, saying nothing is no excuse."""
    fields = tiny.model_dump(mode="json")
    fields["goal"]["risk_class"] = "high"
    grave = Plan.model_validate(fields)
    for name in ("explanation", "ethics", "robustness-random", "fallback"):
        assert task(name).excused(tiny) is not None
        assert task(name).excused(grave) is None


def test_planning_is_never_excused(tiny: Plan) -> None:
    """Each heading of the feasibility applies to every plan; cost and benefit need the plan's economics."""
    excusable = [each.id for each in TASKS if each.phase == "planning" and each.excuse is not None]
    assert excusable == ["cost-benefit"]
    assert task("cost-benefit").excused(tiny) is None
